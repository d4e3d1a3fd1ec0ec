//! Typed settings from flags, environment and an optional YAML file. Reads the environment and that file.
//!
//! The settings are a `clap` parser. What stands nearer to the person wins: a flag over an environment variable,
//! that over the file, and the file over the built-in default. The file is a mapping from the long names of the
//! flags to their values:
//!
//! ```yaml
//! listen: 0.0.0.0:8443
//! log-format: text
//! ```

use std::{collections::BTreeMap, ffi::OsString, fs, path::PathBuf};

use clap::{Command, Parser, error::ErrorKind};
use serde_yaml::Value;

/// The flag that names the file. Flatten it into every parser given to [`load`].
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SettingsFile {
    /// A YAML file with settings, by the long names of the flags.
    #[arg(
        long = "config",
        env = "DAAP_CONFIG",
        global = true,
        value_name = "FILE"
    )]
    pub settings_file: Option<PathBuf>,
}

/// The settings of this process. Prints what is wrong, or the help that was asked for, and ends the process then.
pub fn load<S: Parser>() -> S {
    load_from(std::env::args_os().collect()).unwrap_or_else(|error| error.exit())
}

/// The settings for these arguments (the program's name first).
///
/// # Errors
/// A message for the person who wrote the flag, variable or file; or the help or version they asked for.
pub fn load_from<S: Parser>(arguments: Vec<OsString>) -> Result<S, clap::Error> {
    let command = match settings_file(S::command(), &arguments) {
        Some(path) => with_file(S::command(), &path)?,
        None => S::command(),
    };
    S::from_arg_matches(&command.try_get_matches_from(arguments)?)
}

/// The file that the arguments or the environment name. Mistakes are left to the real parse.
fn settings_file(command: Command, arguments: &[OsString]) -> Option<PathBuf> {
    let matches = command
        .ignore_errors(true)
        .try_get_matches_from(arguments)
        .ok()?;
    matches
        .try_get_one::<PathBuf>("settings_file")
        .ok()
        .flatten()
        .cloned()
}

/// The command with the file's values as its defaults.
fn with_file(mut command: Command, path: &PathBuf) -> Result<Command, clap::Error> {
    let mut error = |message: String| {
        command.error(
            ErrorKind::ValueValidation,
            format!("{}: {message}", path.display()),
        )
    };
    let text = fs::read_to_string(path).map_err(|cause| error(cause.to_string()))?;
    let values: BTreeMap<String, Value> =
        serde_yaml::from_str(&text).map_err(|cause| error(cause.to_string()))?;
    for (name, value) in values {
        let values = texts(&value);
        let known = command
            .get_arguments()
            .find(|argument| argument.get_long() == Some(name.as_str()));
        let (Some(argument), Some(values)) = (known, values) else {
            let message = format!(
                "{}: '{name}' is no setting, or its value is neither a scalar nor a list",
                path.display()
            );
            return Err(command.error(ErrorKind::UnknownArgument, message));
        };
        let id = argument.get_id().clone();
        command = command.mut_arg(id, |argument| argument.default_values(values));
    }
    Ok(command)
}

/// A scalar, or a list of scalars, as the texts a flag would be given.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Bool(truth) => Some(vec![truth.to_string()]),
        Value::Number(number) => Some(vec![number.to_string()]),
        Value::String(text) => Some(vec![text.clone()]),
        Value::Sequence(items) => items
            .iter()
            .map(|item| Some(texts(item)?.concat()))
            .collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Settings {
        #[command(flatten)]
        file: SettingsFile,
        #[arg(long, global = true, default_value = "built-in")]
        listen_on: String,
        #[arg(long, global = true)]
        limit: Option<u32>,
        #[command(subcommand)]
        command: Option<Commands>,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Commands {
        Serve,
    }

    fn load_with(yaml: &str, flags: &[&str]) -> Result<Settings, clap::Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), yaml).unwrap();
        let mut arguments: Vec<OsString> =
            vec!["program".into(), "--config".into(), file.path().into()];
        arguments.extend(flags.iter().map(OsString::from));
        load_from(arguments)
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        assert_eq!(
            load_from::<Settings>(vec!["program".into()])
                .unwrap()
                .listen_on,
            "built-in"
        );
        let settings = load_with("listen-on: filed\nlimit: 3\n", &[]).unwrap();
        assert_eq!(
            (settings.listen_on.as_str(), settings.limit),
            ("filed", Some(3))
        );
        assert_eq!(
            load_with("listen-on: filed", &["serve", "--listen-on", "flagged"])
                .unwrap()
                .listen_on,
            "flagged"
        );
        assert_eq!(
            load_with("listen-on: filed", &["serve"]).unwrap().listen_on,
            "filed"
        );
    }

    #[test]
    fn refuses_what_is_no_setting() {
        assert!(
            load_with("lisen-on: filed", &[])
                .unwrap_err()
                .to_string()
                .contains("lisen-on")
        );
        assert!(load_with("limit: [", &[]).is_err());
        assert!(load_with("limit: many", &[]).is_err());
    }
}
