//! The `eclipse` program: parse, dispatch, exit code (0 success, 1 failure, 2 usage, 3 files of a source that cannot be read).

#![deny(clippy::print_stderr, clippy::print_stdout)] // `cli::print` and `cli::note` survive that nobody reads

mod cli;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::FromArgMatches;

fn main() -> ExitCode {
    if let Err(error) = cli::place::enter_root() {
        cli::note(format!("error: {error}"));
        return ExitCode::from(2);
    }
    let matches = cli::command().get_matches();
    let cli = match cli::Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let filter = cli.filter();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Without a reader there is nobody to tell; the default panics then.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .init();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::note(format!("error: {error:#}{}", cli::place::remedy(&error)));
            ExitCode::from(cli::exit_code(&error))
        }
    }
}
