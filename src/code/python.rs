//! The Python that runs programs: where it is, and what it needs to see.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::CodeError;
use crate::sandbox::{Isolation, Limits, Spec};

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

/// What every program needs to see: the loader, and the libraries of the system.
const SYSTEM: [&str; 8] = [
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/bin",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/nix/store",
];

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

    /// How it runs `code`.
    pub fn spec(&self, code: &str, limits: Limits, isolation: Isolation) -> Spec {
        let program = self.program.display().to_string();
        // Neither the user's packages nor files that packages run at the start; the same order of sets every time.
        let flags = ["-s", "-S", "-B", "-c", code].map(str::to_owned);
        let env = [
            ("PATH", "/usr/bin:/bin"),
            ("HOME", "/tmp"),
            ("LANG", "C.UTF-8"),
            ("PYTHONHASHSEED", "0"),
            ("OMP_NUM_THREADS", "1"),
            ("OPENBLAS_NUM_THREADS", "1"),
        ];
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Spec {
            command: std::iter::once(program).chain(flags).collect(),
            env: env.map(own).to_vec(),
            view: self.view(),
            limits,
            isolation,
        }
    }

    /// The directories of installed packages.
    pub fn packages(&self) -> &[PathBuf] {
        &self.packages
    }

    /// What it sees: the system's programs and libraries, its own, and its packages; each once.
    fn view(&self) -> Vec<PathBuf> {
        let mut view: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
        let own = self.roots.iter().chain(&self.packages);
        for path in own.map(PathBuf::as_path).filter(|path| *path != Path::new("/")) {
            if !view.iter().any(|seen| path.starts_with(seen)) {
                view.push(path.to_owned());
            }
        }
        view
    }
}
