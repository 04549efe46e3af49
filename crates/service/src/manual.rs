//! Shell completions and the manual page, generated from the command line's definition.

use std::io::{self, Write};

use crate::args::{self, Command};
use crate::{Binary, Code};

pub(crate) fn print<B: Binary>(command: Command, output: &mut dyn Write) -> io::Result<()> {
    let mut text = Vec::new();
    match command {
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut args::command::<B>(), B::NAME, &mut text);
        }
        Command::Man => page::<B>(&mut text)?,
    }
    output.write_all(&text)
}

fn page<B: Binary>(out: &mut dyn Write) -> io::Result<()> {
    let man = clap_mangen::Man::new(args::command::<B>()).section("8").manual("Quintet");
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_options_section(out)?;
    let variable = B::NAME.replace('-', "_").to_ascii_uppercase();
    section(out, "FILES")?;
    entry(out, &args::default_path::<B>(), "The configuration, in TOML. It must exist.")?;
    section(out, "ENVIRONMENT")?;
    entry(
        out,
        &format!("QUINTET_{variable}__SECTION__KEY"),
        "Overrides one key of the configuration. The value is read as a TOML value, else as text.",
    )?;
    entry(
        out,
        "LISTEN_FDS, LISTEN_FDNAMES, NOTIFY_SOCKET, WATCHDOG_USEC, CREDENTIALS_DIRECTORY",
        "Set by systemd: sockets by listener name, readiness, watchdog, secrets.",
    )?;
    section(out, "SIGNALS")?;
    entry(out, "SIGTERM, SIGINT", "Drain: accept nothing new, finish what runs, exit. A second one aborts.")?;
    entry(out, "SIGHUP", "Reload what can be changed without a restart.")?;
    section(out, "EXIT STATUS")?;
    for (code, meaning) in Code::ALL {
        entry(out, &code.number().to_string(), &format!("{meaning}."))?;
    }
    Ok(())
}

fn section(out: &mut dyn Write, title: &str) -> io::Result<()> {
    writeln!(out, ".SH \"{title}\"")
}

fn entry(out: &mut dyn Write, term: &str, text: &str) -> io::Result<()> {
    // roff reads a plain hyphen as one that may be typeset as a dash.
    writeln!(out, ".TP\n\\fB{}\\fR\n{}", term.replace('-', "\\-"), text.replace('-', "\\-"))
}
