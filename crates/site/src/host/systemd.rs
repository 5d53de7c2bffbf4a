//! The site's unit, on machines that systemd runs. In: a layout. Out: a unit file, enabled and started, or removed.

use crate::Layout;
use scute_processes::{
    command::{CommandError, run},
    files,
};
use std::{fs, io, path::PathBuf};

/// Why the unit could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    /// `systemctl` refused.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The unit file.
    #[error("{path} cannot be written or removed")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn unit_path(layout: &Layout) -> PathBuf {
    PathBuf::from("/etc/systemd/system").join(layout.unit())
}

/// Text of the unit. Only the supervisor is stopped by a signal; everything else of the site dies with its namespace.
fn render(layout: &Layout) -> String {
    format!(
        "[Unit]\n\
         Description=Scute site {name}\n\
         After=network-online.target\n\
         Wants=network-online.target\n\
         RequiresMountsFor={dir}\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         ExecStart={scute} site-supervisor --site {name}\n\
         Restart=always\n\
         RestartSec=1\n\
         KillMode=process\n\
         Delegate=yes\n\
         TasksMax=infinity\n\
         LimitNOFILE=1048576\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        name = layout.name,
        dir = layout.dir.display(),
        scute = layout.bin("scute").display(),
    )
}

/// Writes, enables and starts the unit.
pub fn start(layout: &Layout) -> Result<(), UnitError> {
    let path = unit_path(layout);
    files::write(&path, render(layout).as_bytes(), 0o644)
        .map_err(|source| UnitError::File { path, source })?;
    run("systemctl", &["daemon-reload"], None)?;
    run("systemctl", &["enable", "--now", &layout.unit()], None)?;
    Ok(())
}

/// Stops and removes the unit; none is fine.
pub fn remove(layout: &Layout) -> Result<(), UnitError> {
    let path = unit_path(layout);
    if !path.exists() {
        return Ok(());
    }
    run("systemctl", &["disable", "--now", &layout.unit()], None)?;
    fs::remove_file(&path).map_err(|source| UnitError::File { path, source })?;
    run("systemctl", &["daemon-reload"], None)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SiteName;
    use std::{os::unix::fs::symlink, process::Command};

    /// systemd's own check names every key that it does not know and every value that it does not take.
    #[test]
    fn systemd_finds_nothing_wrong_with_the_unit() {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = Layout::new(SiteName::new("unit").expect("a name"), folder.path().to_owned());
        let program = layout.bin("scute");
        fs::create_dir_all(program.parent().expect("a folder")).expect("made");
        symlink("/bin/true", program).expect("linked");
        let unit = layout.at(&layout.unit());
        let check = |text: String| {
            fs::write(&unit, text).expect("written");
            let output =
                Command::new("systemd-analyze").arg("verify").arg(&unit).output().expect("systemd-analyze");
            (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        assert_eq!(check(render(&layout)), (true, String::new()));
        let (_, complaint) = check(render(&layout).replace("KillMode", "KillMood"));
        assert!(complaint.contains("KillMood"), "{complaint}");
    }
}
