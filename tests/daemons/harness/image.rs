//! A disk of its own for a daemon, whose power can be cut: an ext4 image in a loop device.
//!
//! Needs root, a loop device and e2fsprogs, util-linux and Python 3, which Debian and Ubuntu have.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Asks ext4 to stop as if the power went: no dirty page and no part of its journal is written any more.
///
/// This is the ioctl `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`, which the file systems' own tests use.
/// It is ready when it has said so, and acts on the next line: the moment is the caller's.
const CUT_POWER: &str = "import fcntl, os, struct, sys
directory = os.open(sys.argv[1], os.O_RDONLY)
print('ready', flush=True)
sys.stdin.readline()
fcntl.ioctl(directory, 0x8004587d, struct.pack('I', 2))";

/// Bytes of an image. It is sparse: a copy takes what is used.
const IMAGE_BYTES: u64 = 256 * 1024 * 1024;

/// A file that holds an ext4 file system, on a disk that keeps what was synced.
pub struct DiskImage {
    home: TempDir,
}

impl DiskImage {
    /// A new, empty one.
    ///
    /// # Panics
    /// If it cannot be made here.
    pub fn format() -> Self {
        let image = Self::empty();
        let file = fs::File::create(image.path()).expect("a file in an own directory can be made");
        file.set_len(IMAGE_BYTES).expect("a sparse file takes no space");
        run("mkfs.ext4", &["-q", "-F", "-m", "0", text(&image.path())]);
        image
    }

    /// What `other` holds at this moment.
    ///
    /// # Panics
    /// If it cannot be copied.
    pub fn copy_of(other: &Self) -> Self {
        let image = Self::empty();
        run("cp", &["--sparse=always", text(&other.path()), text(&image.path())]);
        image
    }

    fn empty() -> Self {
        Self { home: TempDir::new().expect("a temporary directory can be made") }
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("disk.img")
    }

    /// Attaches it to a loop device and mounts it, as a start after a power cut does: ext4 replays its journal.
    ///
    /// # Panics
    /// If loop devices or mounts cannot be made here.
    pub fn mount(&self) -> Mount {
        let point = self.home.path().join("mount");
        fs::create_dir_all(&point).expect("a directory in an own directory can be made");
        // Direct, so that the file holds what ext4 gave to the disk and no page of ours stands between.
        let device = run("losetup", &["--find", "--show", "--direct-io=on", text(&self.path())]).trim().to_owned();
        let mut mount = Mount { device, point, mounted: false };
        run("mount", &["-t", "ext4", &mount.device, text(&mount.point)]);
        mount.mounted = true;
        mount
    }
}

/// A mounted image; unmounted when dropped.
pub struct Mount {
    device: String,
    point: PathBuf,
    mounted: bool,
}

impl Mount {
    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.point
    }

    /// Freezes the file system, does `work`, and thaws it: what is written meanwhile waits.
    ///
    /// # Panics
    /// If it cannot be frozen.
    pub fn frozen<T>(&self, work: impl FnOnce() -> T) -> T {
        run("fsfreeze", &["--freeze", text(&self.point)]);
        let thaw = Thaw(&self.point);
        let done = work();
        drop(thaw);
        done
    }

    /// Cuts the power right after `last` was done: what is not synced is lost, and every access fails from then on.
    ///
    /// What `last` sees as synced is on the disk. What a process believes to have synced afterwards need not be: a sync
    /// that is under way when ext4 stops may return success.
    ///
    /// # Panics
    /// If ext4 refuses.
    pub fn cut_power<T>(&self, last: impl FnOnce() -> T) -> T {
        let mut command = Command::new("python3");
        command.args(["-c", CUT_POWER, text(&self.point)]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut switch = command.spawn().expect("python3 can be started");
        let mut ready = [0; 6];
        switch.stdout.as_mut().expect("stdout is piped").read_exact(&mut ready).expect("it says that it is ready");
        let done = last();
        switch.stdin.as_mut().expect("stdin is piped").write_all(b"cut\n").expect("it reads a line");
        let status = switch.wait().expect("a child can be waited for");
        assert!(status.success(), "ext4 did not stop: {status}");
        done
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily where a process still has files open, so that at least the device goes with it.
        if self.mounted && try_run("umount", &[text(&self.point)]).is_err() {
            report(try_run("umount", &["--lazy", text(&self.point)]));
        }
        report(try_run("losetup", &["--detach", &self.device]));
    }
}

/// Thaws also when the work panics: a frozen file system could not even be unmounted.
struct Thaw<'a>(&'a Path);

impl Drop for Thaw<'_> {
    fn drop(&mut self) {
        report(try_run("fsfreeze", &["--unfreeze", text(self.0)]));
    }
}

fn report(result: Result<String, String>) {
    if let Err(reason) = result {
        eprintln!("{reason}");
    }
}

fn text<P: AsRef<Path> + ?Sized>(path: &P) -> &str {
    path.as_ref().to_str().expect("temporary paths are UTF-8")
}

fn run(program: &str, arguments: &[&str]) -> String {
    try_run(program, arguments).unwrap_or_else(|reason| panic!("{reason} (disk images need Linux and root)"))
}

fn try_run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let reason = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {arguments:?}: {}: {}", output.status, reason.trim()))
}
