//! The contract of the REST API, held against tools that others have written. They are installed at fixed versions on
//! first use; see `tests/contract`.

mod breaking;
mod clients;
mod lint;
mod properties;

use std::{
    os::unix::fs::symlink,
    process::{Command, Output},
};

use daap_tests::cluster::{
    artifacts::{ContractTools, contract_input, contract_tools},
    scratch::Scratch,
};

use crate::facade::Scene;

/// The committed contract.
const CONTRACT: &str = include_str!("../../../manifests/openapi.json");

/// A directory to work in, with the npm packages and files of `tests/contract` in it.
struct Workshop {
    tools: ContractTools,
    directory: Scratch,
}

impl Workshop {
    fn with(name: &str, files: &[&str]) -> Self {
        let tools = contract_tools().unwrap();
        let directory = Scratch::new(name).unwrap();
        symlink(tools.node_modules(), directory.path().join("node_modules")).unwrap();
        for file in files {
            std::fs::copy(contract_input(file), directory.path().join(file)).unwrap();
        }
        Self { tools, directory }
    }

    /// With the contract among the files, as `openapi.json`.
    fn with_contract(name: &str, files: &[&str]) -> Self {
        let workshop = Self::with(name, files);
        workshop.write("openapi.json", CONTRACT);
        workshop
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.directory.path().join(file), text).unwrap();
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(file)).unwrap()
    }

    /// A program of an npm package, to be run in the directory.
    fn npm_program(&self, name: &str) -> Command {
        let mut command = self.node();
        command.arg(self.tools.node_modules().join(".bin").join(name));
        command
    }

    /// Node.js, in the directory.
    fn node(&self) -> Command {
        let mut command = self.tools.node();
        command
            .current_dir(self.directory.path())
            .env("NO_COLOR", "1");
        command
    }

    /// A Python module, to be run in the directory.
    fn python_module(&self, name: &str) -> Command {
        let mut command = self.tools.python(name);
        command
            .current_dir(self.directory.path())
            .env("NO_COLOR", "1");
        command
    }
}

/// What a tool wrote, whatever its verdict.
fn output_of(command: &mut Command) -> (Output, String) {
    let output = command.output().unwrap();
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    let text = format!("{}\n{}", text[0], text[1]);
    (output, text)
}

/// Runs a tool that has to succeed.
fn succeed(command: &mut Command) {
    let (output, said) = output_of(command);
    assert!(output.status.success(), "{command:?}\n{said}");
}
