//! What a program sees of the files: what it is given, read-only, a few devices, and a `/tmp` of its own in memory.
//!
//! There is no `/proc`, nothing of `/home`, `/root`, `/etc`, `/var` and `/run`, and no device but those that hold nothing.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{chdir, pivot_root};

/// Directories that the view may be built on: one that none of what is to be seen lies in.
const PLACES: [&str; 6] = ["/mnt", "/media", "/srv", "/tmp", "/opt", "/run"];

/// Devices.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

const NONE: Option<&str> = None;

/// Makes the view the root of all that this process sees.
pub fn make(view: &[PathBuf], disk: u64) -> Result<(), String> {
    let of = |what: &str| {
        let what = what.to_owned();
        move |error: nix::Error| format!("{what}: {error}")
    };
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).map_err(of("private mounts"))?;
    let clear = |place: &&&str| Path::new(place).is_dir() && !view.iter().any(|path| path.starts_with(place));
    let root = PLACES
        .iter()
        .find(clear)
        .ok_or("no directory to build the view on")?;
    let root = Path::new(root);
    memory(root, 1 << 20).map_err(of("a tmpfs"))?;
    let mounted = mount_points()?;
    for path in view {
        show(path, root, &mounted)?;
    }
    let dev = root.join("dev");
    directory(&dev)?;
    for device in DEVICES {
        let from = Path::new("/dev").join(device);
        let to = dev.join(device);
        fs::write(&to, "").map_err(|error| format!("{}: {error}", to.display()))?;
        mount(Some(&from), &to, NONE, MsFlags::MS_BIND, NONE).map_err(of(&from.display().to_string()))?;
    }
    let own = root.join("tmp");
    directory(&own)?;
    memory(&own, disk).map_err(of("/tmp"))?;
    chdir(root).map_err(of("chdir"))?;
    // The old root lies on the new one then, and is taken off it.
    pivot_root(".", ".").map_err(of("pivot_root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(of("the old root"))?;
    chdir("/").map_err(of("chdir"))?;
    let fixed =
        MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(NONE, "/", NONE, fixed, NONE).map_err(of("a root that cannot be written"))
}

/// Memory as a file system.
fn memory(at: &Path, bytes: u64) -> nix::Result<()> {
    let options = format!("size={bytes},nr_inodes=4096,mode=0777");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options.as_str()))
}

fn directory(path: &Path) -> Result<(), String> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.map_err(|error| format!("{}: {error}", path.display()))
}

/// Shows one path, at the same place below `root`. A link is a link there, too.
fn show(path: &Path, root: &Path, mounted: &[PathBuf]) -> Result<(), String> {
    let at = |error: std::io::Error| format!("{}: {error}", path.display());
    let what = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(at)?,
    };
    let to = root.join(path.strip_prefix("/").unwrap_or(path));
    directory(to.parent().unwrap_or(root))?;
    if what.is_symlink() {
        return symlink(fs::read_link(path).map_err(at)?, to).map_err(at);
    }
    if what.is_dir() {
        directory(&to)?;
    } else {
        fs::write(&to, "").map_err(at)?;
    }
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    let of = |error: nix::Error| format!("{} in the view: {error}", path.display());
    mount(Some(path), &to, NONE, bind, NONE).map_err(of)?;
    // What is mounted below it came along, and each is made read-only by itself.
    let below = mounted
        .iter()
        .filter(|point| point.starts_with(path) && *point != path);
    for point in below.map(PathBuf::as_path).chain([path]) {
        read_only(&root.join(point.strip_prefix("/").unwrap_or(point))).map_err(of)?;
    }
    Ok(())
}

/// Keeps what is forbidden there already: it cannot be allowed again from within.
fn read_only(point: &Path) -> nix::Result<()> {
    let has = statvfs(point)?.flags();
    let mut flags =
        MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let pairs = [
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    for (one, other) in pairs {
        flags.set(other, has.contains(one));
    }
    mount(NONE, point, NONE, flags, NONE)
}

/// Where something is mounted.
fn mount_points() -> Result<Vec<PathBuf>, String> {
    let text = fs::read_to_string("/proc/self/mountinfo").map_err(|error| format!("mountinfo: {error}"))?;
    let point = |line: &str| {
        line.split(' ')
            .nth(4)
            .map(|point| PathBuf::from(point.replace("\\040", " ")))
    };
    Ok(text.lines().filter_map(point).collect())
}
