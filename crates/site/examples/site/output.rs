//! The smallest output module that site.rs needs.
use clap::ValueEnum;
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Json,
    Yaml,
}
pub fn print<T: serde::Serialize>(f: Format, v: &T, table: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
    match f {
        Format::Table => println!("{}", table(v)),
        _ => println!("{}", serde_json::to_string_pretty(v)?),
    }
    Ok(())
}
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut t = header.join("\t") + "\n";
    rows.into_iter().for_each(|r| t += &(r.join("\t") + "\n"));
    t
}
