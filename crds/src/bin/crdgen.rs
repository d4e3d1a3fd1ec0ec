//! Writes the CRDs of DAAP as YAML, one file a kind, into the directory given as the only argument.

use std::{fs, path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: crdgen DIRECTORY");
        return ExitCode::from(2);
    };
    match write_all(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("cannot write the CRDs to {}: {cause}", directory.display());
            ExitCode::FAILURE
        }
    }
}

fn write_all(directory: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    fs::create_dir_all(directory)?;
    for (file_name, yaml) in daap_crds::manifest::crd_files()? {
        fs::write(directory.join(file_name), yaml)?;
    }
    Ok(())
}
