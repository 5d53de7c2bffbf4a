//! The agent on a copied machine with a file for a disk, against an imitation of the metal room.

mod room;

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use room::{Fault, Room};
use scute_agent::protocol::{Algorithm, Checksum, Cleaning, Format, RootDeviceHints, Said, Work, Write};
use scute_agent::{End, ServiceError, rehearse};

const LIMIT: Duration = Duration::from_secs(60);
const DISK: usize = 24 << 20;
const ENDS: usize = 1 << 20;

/// A machine with one disk, full of what an earlier owner left.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Machine(tempfile::tempdir().unwrap());
        machine.file("sys/block/vda/size", (DISK / 512).to_string().as_bytes());
        machine.file("sys/block/vda/serial", b"disk-1\n");
        machine.file("sys/block/vda/queue/rotational", b"0\n");
        machine.file("sys/class/dmi/id/sys_vendor", b"Scute\n");
        machine.file("proc/meminfo", b"MemTotal:  2048000 kB\n");
        machine.file("dev/vda", &vec![0xee; DISK]);
        machine
    }

    fn file(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn disk(&self) -> Vec<u8> {
        std::fs::read(self.path("dev/vda")).unwrap()
    }

    /// Nothing that a firmware or a kernel would find.
    fn boots(&self) -> bool {
        let disk = self.disk();
        disk[..ENDS].iter().chain(&disk[DISK - ENDS..]).any(|byte| *byte != 0)
    }
}

/// A room and an agent that has a session.
struct Story {
    room: Room,
    machine: Machine,
    agent: tokio::task::JoinHandle<Result<End, ServiceError>>,
}

impl Story {
    fn begin() -> Self {
        let (room, machine) = (Room::open(), Machine::new());
        let (parameters, root) = (room.parameters("127.0.0.1"), machine.0.path().to_owned());
        let agent = tokio::spawn(async move { rehearse(&parameters, &root).await });
        Story { room, machine, agent }
    }

    fn image(&self, name: &str, content: &[u8], format: Format) -> Write {
        self.room.images.put(name, content.to_vec());
        Write {
            url: format!("http://{}/images/{name}", self.room.images_address),
            ca: None,
            format,
            checksum: Some(Checksum {
                algorithm: Algorithm::Sha256,
                value: hex::encode(digest(&SHA256, content)),
            }),
            login: None,
            root: RootDeviceHints { serial_number: Some("disk-1".into()), ..RootDeviceHints::default() },
            config_drive: None,
        }
    }

    async fn write(&self, write: Write) -> Said {
        let id = format!("write-{}", self.room.with(|memory| memory.reports.len()));
        self.room.give(Work::Write { id: id.clone(), write: Box::new(write) });
        self.room.end_of(&id, LIMIT).await
    }

    async fn end(self) {
        self.room.give(Work::PowerOff);
        assert_eq!(self.agent.await.unwrap().unwrap(), End::PowerOff);
    }
}

/// Bytes without a pattern, with a hole.
fn content(length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let hole = length / 4..length / 2;
    bytes[hole].fill(0);
    bytes
}

fn tool(program: &str, args: &[&str], files: &[&Path]) {
    let done = std::process::Command::new(program).args(args).args(files).output().unwrap();
    assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
}

fn qcow2(raw: &[u8], options: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("raw"), dir.path().join("qcow2"));
    std::fs::write(&from, raw).unwrap();
    let args = [&["convert", "-f", "raw", "-O", "qcow2"], options].concat();
    tool("qemu-img", &args, &[&from, &to]);
    std::fs::read(to).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_arrives_on_the_disk() {
    let story = Story::begin();
    // No whole number of blocks or clusters.
    let raw = content((10 << 20) + 1536);
    let files = [
        (raw.clone(), Format::Raw),
        (zstd::encode_all(&raw[..], 1).unwrap(), Format::Raw),
        (gzip(&raw), Format::Raw),
        (qcow2(&raw, &[]), Format::Qcow2),
        (qcow2(&raw, &["-c"]), Format::Qcow2),
        (qcow2(&raw, &["-c", "-o", "compression_type=zstd,cluster_size=4k"]), Format::Qcow2),
        (raw.clone(), Format::Auto),
        (gzip(&raw), Format::Auto),
        (qcow2(&raw, &[]), Format::Auto),
    ];
    for (index, (file, format)) in files.into_iter().enumerate() {
        story.machine.file("dev/vda", &vec![0xee; DISK]);
        let write = story.image(&format!("image-{index}"), &file, format);
        let said = story.write(write).await;
        assert_eq!(said, Said::Written { disk: "/dev/vda".into() }, "{index}");
        assert!(story.machine.disk()[..raw.len()] == raw, "{index}");
    }
    story.end().await;
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_is_read_on() {
    let story = Story::begin();
    let raw = content(8 << 20);
    // At the first byte, in the part that is held, in the middle, before the last byte; then a server without ranges.
    story.room.images.fail([
        Fault::Cut(0),
        Fault::Cut(1),
        Fault::Cut(5000),
        Fault::Status(503),
        Fault::Cut(3 << 20),
    ]);
    story.room.images.fail([Fault::NoRanges]);
    let write = story.image("image", &raw, Format::Raw);
    assert!(matches!(story.write(write).await, Said::Written { .. }));
    assert!(story.machine.disk()[..raw.len()] == raw);
    assert!(
        story.room.images.asked().iter().any(|range| range == "bytes=5001-"),
        "{:?}",
        story.room.images.asked()
    );
    story.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_image_never_boots() {
    let story = Story::begin();
    let raw = content(8 << 20);
    let small = qcow2(&content(3 << 20), &[]);
    let good = |format| story.image("image", &raw, format);
    let named = |name: &str, content: &[u8], format| story.image(name, content, format);
    let mut wrong_digest = good(Format::Raw);
    wrong_digest.checksum.as_mut().unwrap().value = "0".repeat(64);
    let mut nowhere = good(Format::Raw);
    nowhere.url.push('x');
    let mut other_disk = good(Format::Raw);
    other_disk.root.serial_number = Some("disk-2".into());
    let truncated = zstd::encode_all(&raw[..], 1).unwrap();
    let mut backing = small.clone();
    backing[8..20].copy_from_slice(&[0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 5]);
    let cases = [
        (wrong_digest, "the checksum of the image is"),
        (nowhere, "404"),
        (other_disk, "no disk fits rootDeviceHints; there are: /dev/vda"),
        (
            named("large", &content(DISK + 512), Format::Raw),
            "it has 24 MiB, and 25 MiB are needed for the image (disk",
        ),
        (
            named("large.zst", &zstd::encode_all(&content(DISK + 512)[..], 1).unwrap(), Format::Raw),
            "larger than the disk",
        ),
        (named("large-qcow2", &qcow2(&content(DISK + 512), &[]), Format::Qcow2), "and 25 MiB are needed"),
        (named("half.zst", &truncated[..truncated.len() / 2], Format::Raw), "cannot be unpacked"),
        (named("qcow2", &small, Format::Raw), "its content is qcow2"),
        (named("raw", &raw, Format::Qcow2), "its content is not"),
        (named("backing", &backing, Format::Qcow2), "backing file"),
        (named("empty", b"", Format::Raw), "empty"),
    ];
    for (write, words) in cases {
        story.machine.file("dev/vda", &vec![0; DISK]);
        let Said::Failed { why } = story.write(write).await else { panic!("written, but {words}") };
        assert!(why.contains(words), "{why}");
        assert!(!story.machine.boots(), "{words}");
    }
    story.room.images.fail([Fault::Cut(2 << 20), Fault::Changed]);
    let Said::Failed { why } = story.write(good(Format::Raw)).await else {
        panic!("written from two images")
    };
    assert!(why.contains("was changed while it was read") && !story.machine.boots(), "{why}");
    story.end().await;
}

/// Unlike the metal room, an image server is not pinned: its certificate must be good now.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_server_is_trusted_by_the_authorities_that_come_with_the_image() {
    let story = Story::begin();
    for (year, authority, words) in
        [(2001, true, Some("certificate expired")), (2101, false, Some("UnknownIssuer")), (2101, true, None)]
    {
        let server = Room::with_certificate_until(year);
        server.images.put("image", content(5 << 20));
        let mut write = story.image("image", &content(5 << 20), Format::Raw);
        write.url = format!("https://{}/images/image", server.address);
        write.ca = authority.then(|| server.authority.clone());
        match (story.write(write).await, words) {
            (Said::Written { .. }, None) => {}
            (Said::Failed { why }, Some(words)) => assert!(why.contains(words), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    story.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qcow2_image_needs_ranges() {
    let story = Story::begin();
    story.room.images.fail([Fault::NoRanges, Fault::NoRanges]);
    let write = story.image("image", &qcow2(&content(3 << 20), &[]), Format::Qcow2);
    let Said::Failed { why } = story.write(write).await else { panic!("written") };
    assert!(why.contains("does not serve ranges"), "{why}");
    story.end().await;
}

/// A disk with an EFI partition, as a person would make it.
fn partitioned() -> Vec<u8> {
    use std::io::Write;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content(8 << 20)).unwrap();
    let mut sfdisk = std::process::Command::new("/usr/sbin/sfdisk");
    sfdisk.args(["-q", "--wipe", "always"]).arg(file.path()).stdin(std::process::Stdio::piped());
    let mut child = sfdisk.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"label: gpt\nsize=2048, type=U\nsize=4096, type=L\n").unwrap();
    assert!(child.wait().unwrap().success());
    std::fs::read(file.path()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_config_drive_is_at_the_end_of_a_disk_with_two_good_tables() {
    let story = Story::begin();
    let drive = content(300_000);
    let mut write = story.image("image", &partitioned(), Format::Raw);
    write.config_drive = Some(BASE64_STANDARD.encode(&drive));
    assert!(matches!(story.write(write).await, Said::Written { .. }));
    let mut verify = std::process::Command::new("/usr/sbin/sfdisk");
    let checked = verify.arg("--verify").arg(story.machine.path("dev/vda")).output().unwrap();
    assert!(String::from_utf8_lossy(&checked.stdout).contains("No errors detected."), "{checked:?}");
    let start = DISK - (2 << 20);
    assert!(story.machine.disk()[start..start + drive.len()] == drive);
    // A file system without a table has no place for it.
    let mut write = story.image("plain", &content(8 << 20), Format::Raw);
    write.config_drive = Some(BASE64_STANDARD.encode(&drive));
    let Said::Failed { why } = story.write(write).await else { panic!("written") };
    assert!(why.contains("no partition table") && !story.machine.boots(), "{why}");
    story.end().await;
}

/// What does not fit is told by its first bytes, whatever the file is.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_without_room_for_image_and_config_drive_is_refused_and_stays_as_it_is() {
    let story = Story::begin();
    let image = partitioned();
    let (fits, large) = (content(19 << 20), content((19 << 20) + 1));
    let files = [
        (image.clone(), Format::Raw),
        (zstd::encode_all(&image[..], 1).unwrap(), Format::Raw),
        (qcow2(&image, &[]), Format::Qcow2),
        (qcow2(&image, &["-c", "-o", "cluster_size=4k"]), Format::Qcow2),
    ];
    for (index, (file, format)) in files.into_iter().enumerate() {
        story.machine.file("dev/vda", &vec![0xee; DISK]);
        let mut write = story.image(&format!("image-{index}"), &file, format);
        write.config_drive = Some(BASE64_STANDARD.encode(&large));
        let Said::Failed { why } = story.write(write.clone()).await else { panic!("written: {index}") };
        let words =
            "it has 24 MiB, and 25 MiB are needed for the image and a config drive of 20 MiB (disk /dev/vda)";
        assert!(why.contains(words), "{index}: {why}");
        assert!(story.machine.disk().iter().all(|byte| *byte == 0xee), "{index}");
        write.config_drive = Some(BASE64_STANDARD.encode(&fits));
        assert_eq!(story.write(write).await, Said::Written { disk: "/dev/vda".into() }, "{index}");
    }
    story.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_not_wanted_any_more_ends_and_the_next_work_is_done() {
    let story = Story::begin();
    story.room.images.fail([Fault::Stall(3 << 20)]);
    let write = story.image("image", &content(8 << 20), Format::Raw);
    story.room.give(Work::Write { id: "unwanted".into(), write: Box::new(write) });
    let begun =
        |memory: &room::Memory| memory.reports.iter().any(|report| report.id == "unwanted").then_some(());
    story.room.until("the write begins", LIMIT, begun).await;
    story.room.with(|memory| memory.unwanted.push("unwanted".into()));
    story.room.give(Work::Clean { id: "clean".into(), how: Cleaning::Metadata });
    let Said::Cleaned { wiped } = story.room.end_of("clean", LIMIT).await else { panic!("not cleaned") };
    assert!(wiped[0].starts_with("/dev/vda: "), "{wiped:?}");
    assert!(!story.machine.boots());
    let ended = |said: &Said| !matches!(said, Said::Progress { .. });
    assert!(
        story.room.with(|memory| !memory
            .reports
            .iter()
            .any(|report| report.id == "unwanted" && ended(&report.what)))
    );
    story.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_work_that_is_given_again_is_told_again_and_not_done_again() {
    let story = Story::begin();
    let write = story.image("image", &content(8 << 20), Format::Raw);
    let work = Work::Write { id: "one".into(), write: Box::new(write) };
    story.room.give(work.clone());
    story.room.end_of("one", LIMIT).await;
    story.machine.file("dev/vda", b"as it was");
    story.room.with(|memory| memory.reports.clear());
    story.room.give(work);
    assert!(matches!(story.room.end_of("one", LIMIT).await, Said::Written { .. }));
    assert_eq!(story.machine.disk(), b"as it was");
    story.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_taken_once_and_only_its_taker_may_ask_again() {
    let room = Room::open();
    let machine = Machine::new();
    room.with(|memory| memory.unavailable = 2);
    room.give(Work::Inspect { id: "look".into() });
    room.give(Work::Reboot);
    let parameters = room.parameters("127.0.0.1");
    assert_eq!(rehearse(&parameters, machine.0.path()).await.unwrap(), End::Reboot);
    let Said::Inspected { inventory } = room.end_of("look", LIMIT).await else { panic!("not inspected") };
    assert_eq!((inventory.manufacturer.as_str(), inventory.memory_mebibytes), ("Scute", 2000));
    assert_eq!(inventory.disks[0].serial_number, "disk-1");
    let hellos = room.with(|memory| memory.hellos.clone());
    assert!(
        hellos.len() == 3
            && hellos.iter().all(|hello| hello.boot == hellos[0].boot && hello.boot.len() == 32)
    );
    // Whoever has read the command line comes too late.
    let replayed = rehearse(&parameters, machine.0.path()).await;
    assert!(matches!(replayed, Err(ServiceError::Refused(status, _)) if status == 409), "{replayed:?}");
    let mut wrong = parameters;
    wrong.token = "guessed".into();
    let refused = rehearse(&wrong, machine.0.path()).await;
    assert!(matches!(refused, Err(ServiceError::Refused(status, _)) if status == 401), "{refused:?}");
}

/// Another authority, another name, another digest: the token stays with the agent.
#[tokio::test(flavor = "multi_thread")]
async fn the_token_goes_to_the_pinned_service_only() {
    let (room, other) = (Room::open(), Room::open());
    let machine = Machine::new();
    let mut another_authority = room.parameters("127.0.0.1");
    another_authority.pin = other.pin.clone();
    for parameters in [another_authority, room.parameters("localhost")] {
        let answer =
            tokio::time::timeout(Duration::from_secs(3), rehearse(&parameters, machine.0.path())).await;
        assert!(answer.is_err(), "{answer:?}");
    }
    let mut no_digest = room.parameters("127.0.0.1");
    no_digest.pin = "abc".into();
    assert!(matches!(rehearse(&no_digest, machine.0.path()).await, Err(ServiceError::Pin(_))));
    let mut plain = room.parameters("127.0.0.1");
    plain.service = plain.service.replace("https", "http");
    assert!(matches!(rehearse(&plain, machine.0.path()).await, Err(ServiceError::Url(_))));
    assert!(room.with(|memory| memory.hellos.is_empty()));
}
