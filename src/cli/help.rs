//! Help of the whole program: command groups, examples, completions, the manual page.

use clap::Command;

use super::output::print;
use super::place;

/// Commands by purpose. A test checks that each visible command is listed once.
const GROUPS: [(&str, &[&str]); 6] = [
    (
        "Experiments",
        &["sweep", "train", "report", "draw", "serve", "list", "schema"],
    ),
    ("Data", &["encode", "merge", "inspect"]),
    ("Trained and published priors", &["fetch", "prior", "export"]),
    (
        "Images with published decoders",
        &["generate", "vary", "interpolate"],
    ),
    ("Scores and reference numbers", &["eval", "params", "verify"]),
    (
        "The program itself",
        &["pretrain", "devices", "warm", "completions", "man"],
    ),
];

/// Examples for first use.
const EXAMPLES: &str = "\
Examples:
  eclipse sweep objectives                                    train and compare the three priors: ten minutes
  eclipse draw \"a red car on the left of a blue dog\"          own words, with what was trained
  eclipse serve                                               the same on a page, side by side
  eclipse train --config my.toml --set train.lr=1e-4          one run
  eclipse encode --clip CLIP_L14 --pairs cc3m/ --out store    your own images and captions
  eclipse fetch kakaobrain/karlo-v1-alpha                     published weights, for --pipeline
  eclipse export runs/train/my_1234abcd --to my-prior         a pipeline for Python's diffusers
  eclipse COMMAND --help                                      all options of a command";

/// Adds command groups, examples, and negative numbers as values of options to `command`.
pub(super) fn grouped(command: Command) -> Command {
    let width = GROUPS
        .iter()
        .flat_map(|(_, names)| *names)
        .map(|name| name.len())
        .max();
    let width = width.unwrap_or(0);
    let mut text = String::new();
    for (title, names) in GROUPS {
        text += &format!("{title}:\n");
        for name in names {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            text += &format!("  {name:width$}  {about}\n");
        }
        text += "\n";
    }
    place::with_paths(with_negative_numbers(command))
        .help_template(
            "{about}\n\n{usage-heading} {usage}\n\n{before-help}Options:\n{options}\n\n{after-help}",
        )
        .before_help(text)
        .after_help(EXAMPLES)
}

fn with_negative_numbers(command: Command) -> Command {
    command
        .mut_args(|arg| match arg.get_action().takes_values() {
            true => arg.allow_negative_numbers(true),
            false => arg,
        })
        .mut_subcommands(with_negative_numbers)
}

/// Prints a shell's completions.
pub(super) fn completions(shell: clap_complete::Shell, mut command: Command) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "eclipse", &mut text);
    print(&String::from_utf8(text)?)
}

/// Prints the manual page.
pub(super) fn man(command: Command) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    print(&String::from_utf8(text)?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn each_command_is_in_one_group() {
        let mut listed: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| names.iter().copied())
            .collect();
        listed.sort_unstable();
        let command = Cli::command();
        let visible = command.get_subcommands().filter(|command| !command.is_hide_set());
        let mut names: Vec<&str> = visible.map(Command::get_name).collect();
        names.sort_unstable();
        assert_eq!(listed, names);
        grouped(command).debug_assert();
    }
}
