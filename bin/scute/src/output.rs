//! Tables, JSON and YAML on standard output.

use std::io::{ErrorKind, IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde::Serialize;

/// How a result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
    /// For programs and people
    Yaml,
}

/// Whoever read the output has enough, as `| head` does. No fault: the command ends.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output any more")]
pub struct Closed;

/// Writes a text to standard output, as it is.
///
/// # Errors
/// [`Closed`], or why it could not be written.
pub fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        done => Ok(done?),
    }
}

/// Whether somebody is there to answer a question.
///
/// # Errors
/// Nobody is.
pub fn can_ask(question: &str) -> anyhow::Result<()> {
    if std::io::stdin().is_terminal() {
        return Ok(());
    }
    anyhow::bail!("{question} Nobody can be asked here: say --yes")
}

/// Asks on the terminal before something is removed for good; anything but yes is no.
///
/// # Errors
/// Nobody is there to be asked.
pub fn confirmed(what: &str, parts: &[String], question: &str) -> anyhow::Result<bool> {
    can_ask(question)?;
    let parts: String = parts.iter().map(|part| format!("  {part}\n")).collect();
    let mut err = std::io::stderr().lock();
    write!(err, "{what}\n{parts}{question} [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// A value as YAML.
pub fn yaml(value: &impl Serialize) -> anyhow::Result<String> {
    // Through JSON first: types that serialise themselves for one format only come out alike.
    Ok(serde_saphyr::to_string(&serde_json::to_value(value)?)?)
}

/// Prints a value in a format for programs, or what `table` makes of it.
pub fn print<T: Serialize>(
    format: Format,
    value: &T,
    table: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    match format {
        Format::Table => say(&format!("{}\n", table(value).trim_end())),
        Format::Json => say(&format!("{}\n", serde_json::to_string_pretty(value)?)),
        Format::Yaml => say(&yaml(value)?),
    }
}

/// A table without lines, columns three blanks apart, as kubectl draws it.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// How long ago, in at most two units, as kubectl says it.
pub fn age(since: jiff::Timestamp, now: jiff::Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=599 => match seconds % 60 {
            0 => format!("{}m", seconds / 60),
            rest => format!("{}m{rest}s", seconds / 60),
        },
        600..=10_799 => format!("{}m", seconds / 60),
        10_800..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_kubectl_writes_them() {
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        let ages: Vec<_> = [5, 119, 150, 700, 11_000, 200_000].map(|second| age(at(0), at(second))).into();
        assert_eq!(ages, ["5s", "119s", "2m30s", "11m", "3h", "2d"]);
    }

    #[test]
    fn a_table_is_plain_text() {
        let text = table(&["NAME", "PHASE"], [vec!["a".into(), "Provisioned".into()]]);
        assert_eq!(text, "NAME   PHASE\na      Provisioned\n");
    }
}
