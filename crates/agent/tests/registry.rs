//! Images in a registry, which the agent reads as who may: against a registry of the distribution specification.

mod room;

use std::time::Duration;

use room::{Guard, Room};
use scute_agent::protocol::{Format, Login, RootDeviceHints, Said, Work, Write};
use scute_agent::rehearse;

const LIMIT: Duration = Duration::from_secs(60);
const DISK: usize = 24 << 20;
const FILE: &str = "application/octet-stream";
const PASSWORD: &str = "correct-horse";

/// The metal room with a host, and a registry by TLS and without.
struct Story {
    room: Room,
    server: Room,
    machine: tempfile::TempDir,
}

impl Story {
    fn begin() -> Self {
        let machine = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = machine.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        file("sys/block/vda/size", (DISK / 512).to_string().as_bytes());
        file("sys/block/vda/serial", b"disk-1\n");
        file("dev/vda", &vec![0; DISK]);
        // Of an image's server the certificate must be good now.
        let story = Story { room: Room::open(), server: Room::with_certificate_until(2101), machine };
        let (parameters, root) = (story.room.parameters("127.0.0.1"), story.machine.path().to_owned());
        tokio::spawn(async move { rehearse(&parameters, &root).await });
        story
    }

    fn plain(&self, version: &str) -> String {
        format!("oci+http://{}/disks/node{version}", self.server.images_address)
    }

    fn secure(&self, version: &str) -> String {
        format!("oci://{}/disks/node{version}", self.server.address)
    }

    fn realm(&self, secure: bool) -> String {
        match secure {
            true => format!("https://{}/token", self.server.address),
            false => format!("http://{}/token", self.server.images_address),
        }
    }

    /// Writes it, as who has the password or as nobody.
    async fn write(&self, url: &str, password: Option<&str>) -> Said {
        std::fs::write(self.machine.path().join("dev/vda"), vec![0; DISK]).unwrap();
        let login = password.map(|password| Login { username: "reader".into(), password: password.into() });
        let root = RootDeviceHints { serial_number: Some("disk-1".into()), ..RootDeviceHints::default() };
        let ca = Some(self.server.authority.clone());
        let write = Write {
            url: url.into(),
            login,
            ca,
            format: Format::Auto,
            checksum: None,
            root,
            config_drive: None,
        };
        let id = format!("write-{}", self.room.with(|memory| memory.reports.len()));
        self.room.give(Work::Write { id: id.clone(), write: Box::new(write) });
        self.room.end_of(&id, LIMIT).await
    }

    fn has(&self, image: &[u8]) -> bool {
        std::fs::read(self.machine.path().join("dev/vda")).unwrap()[..image.len()] == *image
    }
}

/// Bytes without a pattern.
fn content(length: u32) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

fn written() -> Said {
    Said::Written { disk: "/dev/vda".into() }
}

fn failed(said: Said) -> String {
    match said {
        Said::Failed { why } => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_by_tag_or_digest_out_of_a_list_too() {
    let (story, raw) = (Story::begin(), content(5 << 20));
    let registry = &story.server.registry;
    let packed = zstd::encode_all(&raw[..], 1).unwrap();
    for (tag, layer, listed) in [("v1", &raw, false), ("v2", &packed, true)] {
        let id = registry.push(tag, &[(FILE, layer)], listed);
        for url in [
            story.plain(&format!(":{tag}")),
            story.secure(&format!("@{id}")),
            story.plain(&format!(":{tag}@{id}")),
        ] {
            assert_eq!(story.write(&url, None).await, written(), "{url}");
            assert!(story.has(&raw), "{url}");
        }
    }
    registry.push("latest", &[(FILE, &raw)], false);
    assert_eq!(story.write(&story.secure(""), None).await, written());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_disk_image_or_another_one_never_boots() {
    let (story, raw) = (Story::begin(), content(5 << 20));
    let registry = &story.server.registry;
    let layers: [(&str, &[u8]); 2] = [(FILE, &raw), (FILE, b"more")];
    registry.push("two", &layers, false);
    registry.push("files", &[("application/vnd.oci.image.layer.v1.tar+gzip", &raw)], false);
    let other = registry.push("other", &[(FILE, &content(4 << 20))], false);
    registry.corrupt(&other);
    registry.push("damaged", &[(FILE, &raw)], false);
    registry.corrupt(&room::digest(&raw));
    for (url, words) in [
        (story.plain(":two"), "has 2 layers, and a disk image is one"),
        (story.plain(":files"), "oras push"),
        (story.plain(&format!("@{other}")), "is another one: the checksum of the image is"),
        (story.plain(":damaged"), "the checksum of the image is"),
        (story.plain(":none"), "answers 404"),
        (story.plain(":no/tag"), "must be oci://REGISTRY/REPOSITORY[:TAG][@DIGEST]: a tag has letters"),
    ] {
        let why = failed(story.write(&url, None).await);
        assert!(why.contains(words) && why.contains(&url), "{why}");
        let disk = std::fs::read(story.machine.path().join("dev/vda")).unwrap();
        assert!(disk[..1 << 20].iter().all(|byte| *byte == 0), "{url}");
    }
}

/// Tokens end while an image is read, connections break, and blobs are on another server, which must not see who reads.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_fetched_anew_and_shown_to_the_registry_alone() {
    let (story, raw) = (Story::begin(), content(5 << 20));
    let registry = &story.server.registry;
    registry.push("v1", &[(FILE, &raw)], false);
    registry.guard(Guard::Bearer { realm: story.realm(true), uses: 2, password: false });
    registry.cut([1 << 20, 0, 2 << 20]);
    assert_eq!(story.write(&story.secure(":v1"), None).await, written());
    assert!(story.has(&raw));
    let asked = registry.asked();
    let tokens = asked.iter().filter(|line| *line == "token").count();
    assert!(tokens > 2, "{asked:?}");
    assert!(asked.iter().any(|line| line.contains("bytes=1048576- Bearer")), "{asked:?}");

    registry.guard(Guard::Bearer { realm: story.realm(true), uses: 9, password: true });
    registry.elsewhere(Some(format!("http://{}", story.server.images_address)));
    registry.cut([3 << 20]);
    assert_eq!(story.write(&story.secure(":v1"), Some(PASSWORD)).await, written());
    let asked = registry.asked();
    assert!(asked.contains(&"token Basic".to_owned()), "{asked:?}");
    let elsewhere: Vec<_> = asked.iter().filter(|line| line.contains("?signed")).collect();
    assert!(elsewhere.len() > 2, "{asked:?}");
    for line in elsewhere {
        assert!(!line.contains("Bearer") && !line.contains("Basic"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_read_is_told_and_a_password_goes_by_tls_only() {
    let (story, raw) = (Story::begin(), content(5 << 20));
    let registry = &story.server.registry;
    registry.push("v1", &[(FILE, &raw)], false);
    let bearer = |secure| Guard::Bearer { realm: story.realm(secure), uses: 9, password: true };
    let (plain, secure) = (story.plain(":v1"), story.secure(":v1"));
    for (guard, url, password, words) in [
        (Guard::Basic, &secure, None, "wants a password: name a Secret with it"),
        (Guard::Basic, &secure, Some("wrong"), "401"),
        (Guard::Basic, &plain, Some(PASSWORD), "is not asked by TLS"),
        (bearer(true), &secure, None, "does not give anybody the right to read"),
        (bearer(true), &secure, Some("wrong"), "does not give the user name and password of the Secret"),
        (bearer(false), &secure, Some(PASSWORD), "which is not asked by TLS"),
        (bearer(false), &plain, Some(PASSWORD), "which is not asked by TLS"),
    ] {
        registry.guard(guard.clone());
        registry.asked();
        let why = failed(story.write(url, password).await);
        assert!(why.contains(words) && !why.contains(PASSWORD), "{guard:?}: {why}");
        let plain = url.starts_with("oci+http") || guard == bearer(false);
        assert!(!plain || registry.asked().iter().all(|line| !line.contains("Basic")), "{guard:?}");
    }
    for guard in [Guard::Basic, bearer(true)] {
        registry.guard(guard);
        assert_eq!(story.write(&secure, Some(PASSWORD)).await, written());
        assert!(story.has(&raw));
    }
}
