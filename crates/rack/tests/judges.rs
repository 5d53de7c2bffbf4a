//! What outside judges say of a rack host: DMTF's validators, Ironic's profile, and sushy as a client. `cargo xtask judges`
//! installs them and names their folder in `SCUTE_JUDGES`.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use common::{Images, Rig, bootable, isolated};
use scute_qemu::bootsector::{self, Guest};
use scute_rack::{Firmware, Shape};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const FROM_CD: &str = "this is the CD";
const FROM_DISK: &str = "this is the disk";

/// Where the judges are.
fn folder() -> PathBuf {
    std::env::var_os("SCUTE_JUDGES").expect("SCUTE_JUDGES: run `cargo xtask judges`").into()
}

/// A host to be judged, and a folder for the judge's own files.
struct Case {
    rig: Rig,
    url: String,
    password: String,
    files: tempfile::TempDir,
}

impl Case {
    async fn new() -> Self {
        let shape =
            Shape { firmware: Firmware::Bios, memory_mib: 256, disks_mib: vec![1, 1], ..Shape::default() };
        let rig = Rig::new(&[shape]).await;
        std::fs::write(common::path(&rig, "a/disk-0.raw"), bootsector::disk(Guest::Hangs, FROM_DISK))
            .unwrap();
        let url = format!("https://{}", rig.rack.host("a").unwrap().server.address);
        let password = rig.host("a").folder.password().unwrap();
        Self { rig, url, password, files: tempfile::tempdir().unwrap() }
    }

    fn certificate(&self) -> PathBuf {
        common::path(&self.rig, "a/bmc.crt")
    }

    /// Python with the judges, in a folder and an environment without anything else.
    fn python(&self) -> Command {
        let mut python = Command::new(folder().join("venv/bin/python"));
        python.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.files.path());
        python.current_dir(self.files.path()).kill_on_drop(true);
        python
    }

    async fn judged(&self, module: &str, arguments: &[&str]) -> Verdict {
        let mut python = self.python();
        python.args(["-c", &format!("from {module}.console_scripts import main; main()")]);
        python.args(["--user", "admin", "--password", &self.password, "--rhost", &self.url]);
        let done = common::soon(module, python.args(arguments).output()).await.unwrap();
        Verdict { module: module.to_owned(), done, complaints: complaints(self.files.path()) }
    }
}

/// What a validator says.
struct Verdict {
    module: String,
    done: Output,
    complaints: Vec<String>,
}

impl Verdict {
    /// Fails unless so many checks are passed, and none is failed or warned of.
    fn is_good(&self, at_least: u32) {
        let said = String::from_utf8_lossy(&self.done.stdout);
        let errors = String::from_utf8_lossy(&self.done.stderr);
        let counts = counts(&said).unwrap_or_else(|| panic!("{said}\n{errors}"));
        let [passed, warned, failed, untested] = counts;
        println!(
            "{}: {passed} passed, {failed} failed, {warned} warned of, {untested} not tested",
            self.module
        );
        assert_eq!((warned, failed), (0, 0), "{}", self.complaints.join("\n"));
        assert!(passed >= at_least, "only {passed} checks: {said}\n{errors}");
        assert!(self.done.status.success(), "{said}\n{errors}");
    }
}

/// Lines of the reports in this folder that complain.
fn complaints(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(complaints(&path));
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let complains =
                |line: &&str| ["FAIL -", "WARN -", "\tFAIL\t", "\tWARN\t"].iter().any(|it| line.contains(it));
            found.extend(text.lines().filter(complains).map(str::to_owned));
        }
    }
    found
}

/// The numbers in the last line that has four of them: passed, warned, failed, not tested.
fn counts(said: &str) -> Option<[u32; 4]> {
    let numbers = |line: &str| -> Option<[u32; 4]> {
        let parts = line.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
        parts.map(|part| part.parse().ok()).collect::<Option<Vec<u32>>>()?.try_into().ok()
    };
    let summary = |line: &&str| line.starts_with("Summary - PASS:") || line.starts_with('|');
    said.lines().filter(summary).filter_map(numbers).next_back()
}

#[test]
#[ignore = "cargo xtask judges"]
fn the_protocol_is_redfish() {
    isolated(async || {
        let case = Case::new().await;
        let authority = case.certificate();
        let arguments =
            ["--ca-bundle", authority.to_str().unwrap(), "--avoid-http-redirect", "--report-type", "tsv"];
        let verdict = case.judged("redfish_protocol_validator", &arguments).await;
        verdict.is_good(345);
    });
}

#[test]
#[ignore = "cargo xtask judges"]
fn the_resources_are_those_of_the_schemas() {
    isolated(async || {
        let case = Case::new().await;
        let schemas = folder().join("schemas");
        let arguments = ["--skipschema", "--schema_directory", schemas.to_str().unwrap()];
        let verdict = case.judged("redfish_service_validator", &arguments).await;
        verdict.is_good(1_200);
    });
}

#[test]
#[ignore = "cargo xtask judges"]
fn the_service_is_what_ironic_wants() {
    isolated(async || {
        let case = Case::new().await;
        let profile = folder().join("profile.json");
        let verdict = case.judged("redfish_interop_validator", &[profile.to_str().unwrap()]).await;
        verdict.is_good(80);
    });
}

/// Another client, which keeps a session.
struct Sushy {
    _process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Sushy {
    fn start(case: &Case) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges/drive.py");
        let mut python = case.python();
        python.arg(script).args([&case.url, "/redfish/v1/Systems/1", "admin", &case.password]);
        python.arg(case.certificate()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = python.spawn().unwrap();
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { _process: process, input, output }
    }

    /// Does it, and gives what is then so; what went wrong is on the standard error.
    async fn tell(&mut self, command: &str) -> Value {
        self.input.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        let line = common::soon(command, self.output.next_line()).await.unwrap();
        serde_json::from_str(&line.unwrap_or_else(|| panic!("sushy ended at {command:?}"))).unwrap()
    }
}

#[test]
#[ignore = "cargo xtask judges"]
fn sushy_drives_a_host_from_power_on_to_off() {
    isolated(async || {
        let case = Case::new().await;
        let images = Images::serve(bootable(&bootsector::disk(Guest::Hangs, FROM_CD))).await;
        let mut console = case.rig.host("a").console();
        let mut sushy = Sushy::start(&case);
        let off = json!({"power": "Off", "target": "None", "lasting": "Disabled", "image": null, "inserted": false});
        assert_eq!(sushy.tell("state").await, off);

        let inserted = sushy.tell(&format!("insert {}", images.url)).await;
        assert_eq!((&inserted["image"], &inserted["inserted"]), (&json!(images.url), &json!(true)));
        let once = sushy.tell("boot cd once").await;
        assert_eq!((&once["target"], &once["lasting"]), (&json!("Cd"), &json!("Once")));
        assert_eq!(sushy.tell("power On").await["power"], "On");
        console.hear(FROM_CD).await;
        assert_eq!(sushy.tell("power ForceRestart").await["lasting"], "Disabled");
        let said = console.hear(FROM_DISK).await;
        assert!(!said.contains(FROM_CD), "{said}");

        let stays = sushy.tell("boot cd continuous").await;
        assert_eq!((&stays["target"], &stays["lasting"]), (&json!("Cd"), &json!("Continuous")));
        for _ in 0..2 {
            assert_eq!(sushy.tell("power ForceRestart").await["lasting"], "Continuous");
            let said = console.hear(FROM_CD).await;
            assert!(!said.contains(FROM_DISK), "{said}");
        }
        let ejected = sushy.tell("eject").await;
        assert_eq!((&ejected["image"], &ejected["inserted"]), (&Value::Null, &json!(false)));
        assert_eq!(sushy.tell("boot none disabled").await["lasting"], "Disabled");
        sushy.tell("power ForceRestart").await;
        console.hear(FROM_DISK).await;
        assert_eq!(sushy.tell("power ForceOff").await["power"], "Off");
        println!("sushy: power, boot once and continuous, insert and eject");
    });
}
