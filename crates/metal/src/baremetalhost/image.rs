//! What an agent is told of an image: pure.

use scute_agent::protocol::{Algorithm, Checksum, Format, Login, RootDeviceHints, Write};
use scute_api::metal3::{self, ChecksumType, DiskFormat, Image};

/// Where the digest of an image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Digest {
    /// It is given.
    Known(Checksum),
    /// It stands in the file of this URL, beside the name of the image's file.
    Listed(String),
    /// The registry that the image is in says it.
    Registered,
}

/// Reads `checksum` and `checksumType`.
///
/// # Errors
/// What is wrong with them.
pub fn digest(image: &Image) -> Result<Digest, String> {
    let given = image.checksum.as_deref().unwrap_or_default().trim();
    if image.is_oci() {
        return match given {
            "" => Ok(Digest::Registered),
            _ => Err("spec.image.checksum must be left out: a registry says the digest itself".to_owned()),
        };
    }
    if given.is_empty() {
        return Err("spec.image.checksum is missing: every image is verified".to_owned());
    }
    if given.starts_with("http://") || given.starts_with("https://") {
        return Ok(Digest::Listed(given.to_owned()));
    }
    let checksum = checksum(given).ok_or_else(|| {
        let length = given.len();
        format!("spec.image.checksum has {length} characters; it must be 32, 64 or 128 hexadecimal digits, or a URL")
    })?;
    fits(image, &checksum)?;
    Ok(Digest::Known(checksum))
}

/// Finds the digest of an image in a SUMS file: lines of a digest and a file name, as sha256sum writes them, or of
/// `SHA256 (NAME) = DIGEST`, as BSD's tools do. A digest alone counts where it is all that there is.
///
/// # Errors
/// Why there is none.
pub fn listed(image: &Image, url: &str, text: &str) -> Result<Checksum, String> {
    let name = file_name(&image.url);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<_> = text.lines().map(words).filter(|line| !line.is_empty()).collect();
    let found = match lines.as_slice() {
        [only] if only.len() == 1 => checksum(&only[0]),
        _ => lines.iter().find_map(|line| match line.as_slice() {
            [digest, file] if file_name(file.trim_start_matches('*')) == name => checksum(digest),
            [_, file, equals, digest] if equals == "=" && file.trim_matches(['(', ')']) == name => {
                checksum(digest)
            }
            _ => None,
        }),
    };
    let found = found.ok_or_else(|| format!("{url} has no digest of {name:?}"))?;
    fits(image, &found)?;
    Ok(found)
}

fn file_name(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default()
}

fn checksum(text: &str) -> Option<Checksum> {
    let algorithm = match text.len() {
        32 => Algorithm::Md5,
        64 => Algorithm::Sha256,
        128 => Algorithm::Sha512,
        _ => return None,
    };
    let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| Checksum { algorithm, value: text.to_ascii_lowercase() })
}

fn fits(image: &Image, found: &Checksum) -> Result<(), String> {
    let wanted = match image.checksum_type {
        None | Some(ChecksumType::Auto) => return Ok(()),
        Some(ChecksumType::Md5) => (Algorithm::Md5, "md5"),
        Some(ChecksumType::Sha256) => (Algorithm::Sha256, "sha256"),
        Some(ChecksumType::Sha512) => (Algorithm::Sha512, "sha512"),
    };
    match found.algorithm == wanted.0 {
        true => Ok(()),
        false => Err(format!(
            "spec.image.checksumType is {}, and the digest has {} digits, which is another",
            wanted.1,
            found.value.len()
        )),
    }
}

/// What the agent is told.
///
/// # Errors
/// When the image is stored in a way that no agent can write.
pub fn write(
    image: &Image,
    checksum: Option<Checksum>,
    login: Option<Login>,
    hints: Option<&metal3::RootDeviceHints>,
    config_drive: Option<String>,
) -> Result<Write, String> {
    let format = match image.format {
        Some(DiskFormat::Qcow2) => Format::Qcow2,
        Some(DiskFormat::Raw) => Format::Raw,
        None => Format::Auto,
        Some(DiskFormat::Vdi | DiskFormat::Vmdk | DiskFormat::LiveIso) => {
            return Err("spec.image.format must be raw, qcow2 or live-iso".to_owned());
        }
    };
    let root = hints.map(root).unwrap_or_default();
    Ok(Write { url: image.url.clone(), login, ca: None, format, checksum, root, config_drive })
}

fn root(hints: &metal3::RootDeviceHints) -> RootDeviceHints {
    let metal3::RootDeviceHints {
        device_name,
        hctl,
        model,
        vendor,
        serial_number,
        min_size_gigabytes,
        wwn,
        wwn_with_extension,
        wwn_vendor_extension,
        rotational,
    } = hints.clone();
    RootDeviceHints {
        device_name,
        hctl,
        model,
        vendor,
        serial_number,
        min_size_gigabytes: (min_size_gigabytes > 0).then_some(min_size_gigabytes),
        wwn,
        wwn_with_extension,
        wwn_vendor_extension,
        rotational,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(checksum: &str, kind: Option<ChecksumType>) -> Image {
        Image {
            url: "https://images/a/node.qcow2?x=y/z".into(),
            checksum: Some(checksum.into()),
            checksum_type: kind,
            ..Image::default()
        }
    }

    #[test]
    fn a_digest_is_told_by_its_length() {
        for (digits, algorithm) in [(32, Algorithm::Md5), (64, Algorithm::Sha256), (128, Algorithm::Sha512)] {
            let text = "Ab".repeat(digits / 2);
            let expected = Checksum { algorithm, value: text.to_lowercase() };
            assert_eq!(digest(&image(&text, Some(ChecksumType::Auto))), Ok(Digest::Known(expected)));
        }
        assert!(digest(&image(&"a".repeat(40), None)).unwrap_err().contains("40 characters"));
        assert!(digest(&image(&"g".repeat(64), None)).is_err());
        assert!(digest(&image("", None)).unwrap_err().contains("missing"));
        let registered = |checksum: &str| digest(&Image { url: "oci://r/a".into(), ..image(checksum, None) });
        assert_eq!(registered(""), Ok(Digest::Registered));
        assert!(registered(&"a".repeat(64)).unwrap_err().contains("left out"));
        let other = digest(&image(&"a".repeat(64), Some(ChecksumType::Md5))).unwrap_err();
        assert!(other.contains("md5"), "{other}");
    }

    #[test]
    fn sums_files_of_both_kinds_are_read_and_others_refused() {
        let digest = "c".repeat(64);
        let at = "https://images/SHA256SUMS";
        let image = image(at, None);
        for text in [
            format!("{}  other.qcow2\n{digest}  node.qcow2\n", "d".repeat(64)),
            format!("{digest} *node.qcow2"),
            format!("{digest}  ./node.qcow2"),
            format!("SHA256 (node.qcow2) = {digest}"),
            format!("{digest}\n"),
        ] {
            assert_eq!(listed(&image, at, &text).map(|found| found.value), Ok(digest.clone()), "{text}");
        }
        for text in [
            "<html><body>not found</body></html>".to_owned(),
            format!("{digest}  other.qcow2\n{digest}  third.qcow2"),
            "abc  node.qcow2".to_owned(),
            String::new(),
        ] {
            let why = listed(&image, at, &text).expect_err(&text);
            assert!(why.contains("node.qcow2") && why.contains(at), "{why}");
        }
    }

    #[test]
    fn the_format_is_what_is_said_or_what_the_content_says() {
        let checksum = Checksum { algorithm: Algorithm::Md5, value: String::new() };
        let format = |format: Option<DiskFormat>| {
            write(&Image { format, ..image("", None) }, Some(checksum.clone()), None, None, None)
                .map(|write| write.format)
        };
        assert_eq!(format(None), Ok(Format::Auto));
        assert_eq!(format(Some(DiskFormat::Raw)), Ok(Format::Raw));
        assert!(format(Some(DiskFormat::Vmdk)).is_err());
    }
}
