//! What everything that runs programs on a machine needs. In: commands, names of groups, paths. Out: processes that are
//! kept alive and reaped, their logs, their cgroups, files that are whole. Never: knows an API, or what the programs are.

pub mod cgroups;
pub mod command;
pub mod files;
pub mod keep;
pub mod lock;
pub mod logs;
pub mod namespaces;
pub mod reaper;
pub mod tied;

/// An error and its causes in one line, each said once.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
