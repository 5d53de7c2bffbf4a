//! The folder of a site: where it is, and that it is free to be one. In: the choices of a call. Out: a layout and what
//! is in it. Only reads, but for [`claim`].

use super::{UpError, UpOptions, file};
use crate::{Layout, SiteConfig, config, host::facts, layout::SITES};
use scute_processes::files;
use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// What may be in a folder that is to become a site's: what every new file system has, and what an `up` that broke off
/// leaves before the folder is known for a site's.
const NOTHING: [&str; 3] = ["lost+found", ".preflight", ".site.json.new"];

/// The site's folder and what is in it.
pub fn locate(options: &UpOptions) -> Result<(Layout, Option<SiteConfig>), UpError> {
    let (known, existing) = config::open(&options.site)?;
    let Some(dir) = &options.dir else {
        free_or(&known, existing.is_some())?;
        return Ok((known, existing));
    };
    let wanted = real(dir).map_err(file(dir))?;
    if existing.is_some() && known.dir != wanted {
        let (found, wanted) = (known.dir.display().to_string(), wanted.display().to_string());
        return Err(UpError::Other { site: options.site.clone(), what: "state folder", found, wanted });
    }
    let layout = Layout::new(options.site.clone(), wanted);
    let existing = SiteConfig::load(&layout)?;
    if let Some(other) = existing.as_ref().filter(|config| config.name != options.site.as_str()) {
        return Err(UpError::AnotherSites { dir: layout.dir, site: other.name.clone() });
    }
    free_or(&layout, existing.is_some())?;
    Ok((layout, existing))
}

/// The path without links, also of what does not exist yet.
fn real(dir: &Path) -> io::Result<PathBuf> {
    let dir = std::path::absolute(dir)?;
    let there = facts::existing(&dir);
    let below = dir.strip_prefix(there).map_err(io::Error::other)?;
    let real = fs::canonicalize(there)?;
    Ok(if below.as_os_str().is_empty() { real } else { real.join(below) })
}

/// Refuses a folder that is somebody's: `down` would remove from it what has a site's names.
fn free_or(layout: &Layout, ours: bool) -> Result<(), UpError> {
    let dir = &layout.dir;
    if Path::new(SITES).starts_with(dir) {
        return Err(UpError::NotEmpty { dir: dir.clone(), has: "the entries of all sites".to_owned() });
    }
    let entries = match fs::read_dir(dir) {
        _ if ours => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(file(dir))?,
    };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut has: Vec<_> = names.filter(|name| !NOTHING.contains(&name.as_str())).collect();
    has.sort();
    has.truncate(3);
    if has.is_empty() {
        return Ok(());
    }
    Err(UpError::NotEmpty { dir: dir.clone(), has: has.join(", ") })
}

/// Makes the folder a site's: first the configuration, by which it is known, then the entry where it is elsewhere.
pub fn claim(layout: &Layout, config: &SiteConfig) -> Result<(), UpError> {
    let (entry, dir) = (Layout::entry(&layout.name), &layout.dir);
    files::new_folder(dir, 0o711).map_err(file(dir))?;
    config.save(layout)?;
    if entry == *dir || fs::canonicalize(&entry).is_ok_and(|found| found == *dir) {
        return Ok(());
    }
    fs::create_dir_all(SITES).map_err(file(Path::new(SITES)))?;
    symlink(dir, &entry).map_err(file(&entry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SiteName, addresses::Addresses};

    fn options(site: &str, dir: &Path) -> UpOptions {
        UpOptions {
            site: SiteName::new(site).unwrap(),
            dir: Some(dir.to_owned()),
            network: None,
            bundle: None,
            default_bundle: PathBuf::new(),
            masquerade: None,
            addresses: Default::default(),
        }
    }

    fn refused(site: &str, dir: &Path) -> String {
        locate(&options(site, dir)).err().map(|error| scute_processes::chain(&error)).unwrap_or_default()
    }

    #[test]
    fn a_folder_with_something_in_it_is_no_sites() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(refused("unit-new", dir.path()), "");
        fs::create_dir(dir.path().join("lost+found")).unwrap();
        assert_eq!(refused("unit-new", dir.path()), "", "a fresh file system");
        fs::write(dir.path().join("thesis.tex"), "").unwrap();
        let said = refused("unit-new", dir.path());
        assert!(said.contains("thesis.tex") && said.contains("--dir"), "{said}");
        assert!(refused("unit-new", Path::new("/")).contains("/ is"));
        assert!(refused("unit-new", Path::new("/var/lib")).contains("/var/lib is"));
    }

    #[test]
    fn another_sites_folder_is_named_with_its_site() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(SiteName::new("lab").unwrap(), dir.path().to_owned());
        SiteConfig::sample(Addresses::of(0, &Default::default())).save(&layout).unwrap();
        assert!(refused("unit-other", dir.path()).contains("is the folder of site lab"));
        let (found, existing) = locate(&options("lab", dir.path())).unwrap();
        assert!(existing.is_some() && found.dir == fs::canonicalize(dir.path()).unwrap());
        fs::write(layout.config(), "{\"schema\": 1}").unwrap();
        assert!(refused("lab", dir.path()).contains("is not a site's configuration"));
    }

    #[test]
    fn a_path_is_found_without_its_links_before_it_exists() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        let disk = dir.path().join("disk");
        fs::create_dir(&disk).unwrap();
        symlink(&disk, &link).unwrap();
        assert_eq!(real(&link.join("a/b")).unwrap(), fs::canonicalize(&disk).unwrap().join("a/b"));
        assert_eq!(real(&link).unwrap(), fs::canonicalize(&disk).unwrap());
    }
}
