//! The Python that runs programs: where it is, and what it needs to see.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::CodeError;

/// Asks a Python where it is. A virtual environment is its base with more paths.
const PROBE: &str = r#"
import json, os, sys, sysconfig
real = os.path.realpath
print(json.dumps({
    "program": real(getattr(sys, "_base_executable", None) or sys.executable),
    "version": list(sys.version_info[:2]),
    "roots": sorted({real(sys.base_prefix), real(sys.base_exec_prefix)}),
    "packages": sorted({real(path) for key, path in sysconfig.get_paths().items() if key in ("purelib", "platlib") and os.path.isdir(path)}),
}))
"#;

/// The oldest that the programs' two halves are written for.
const OLDEST: (u32, u32) = (3, 8);

/// A Python.
#[derive(Debug, Clone, Deserialize)]
pub struct Python {
    program: PathBuf,
    version: (u32, u32),
    roots: Vec<PathBuf>,
    packages: Vec<PathBuf>,
}

impl Python {
    /// The Python of this name or path.
    ///
    /// # Errors
    /// There is none, or it is too old.
    pub fn find(name: &str) -> Result<Self, CodeError> {
        let no = |why: String| CodeError::Python {
            name: name.to_owned(),
            why,
        };
        let mut probe = Command::new(name);
        probe.args(["-c", PROBE]).stdin(Stdio::null());
        let output = probe.output().map_err(|error| no(error.to_string()))?;
        let found: Option<Self> = serde_json::from_slice(&output.stdout).ok();
        let said = || {
            no(format!(
                "it said {:?}",
                String::from_utf8_lossy(&output.stderr).trim()
            ))
        };
        let found = found.ok_or_else(said)?;
        if found.version < OLDEST {
            let (major, minor) = found.version;
            return Err(no(format!(
                "it is Python {major}.{minor}, and programs are run by 3.8 or later"
            )));
        }
        Ok(found)
    }

    /// The Python of a container's image, of which nothing is known.
    pub fn of_image(name: &str) -> Self {
        Self {
            program: name.into(),
            version: OLDEST,
            roots: Vec::new(),
            packages: Vec::new(),
        }
    }

    /// How it runs `code`: neither with the user's packages nor with files that packages run at the start.
    pub fn command(&self, code: &str) -> Vec<String> {
        let program = self.program.display().to_string();
        let flags = ["-s", "-S", "-B", "-c", code].map(str::to_owned);
        std::iter::once(program).chain(flags).collect()
    }

    /// The directories of installed packages.
    pub fn packages(&self) -> &[PathBuf] {
        &self.packages
    }

    /// What it needs to see beside the system: its own files, and its packages.
    pub fn view(&self) -> Vec<PathBuf> {
        self.roots.iter().chain(&self.packages).cloned().collect()
    }
}
