//! What the file must hold to, whoever reads it.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;
use crate::world::secret;

/// A folder of its own that goes with this value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let path = std::env::temp_dir().join(format!("causeway-lab-file-{}", secret(8)));
        fs::create_dir(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn file_of(pid: u32) -> LabFile {
    let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
    LabFile {
        version: VERSION,
        domain: "example.test".into(),
        dns: address,
        dns_inside: address,
        ca: PathBuf::new(),
        program: PathBuf::new(),
        pid,
        edges: Vec::new(),
        cores: Vec::new(),
        inside: Inside {
            unified_cm: Vec::new(),
            other_cluster: Vec::new(),
            im_presence: Vec::new(),
            unity: Vec::new(),
            phone: Phone {
                extension: "1100".into(),
                sip: address,
            },
            allowed_web: String::new(),
            forbidden_web: String::new(),
        },
        users: Vec::new(),
        administrator: Administrator {
            name: String::new(),
            password: String::new(),
            token: String::new(),
        },
    }
}

#[test]
fn file_of_a_lab_that_runs_is_read() {
    let folder = Folder::new();
    file_of(std::process::id()).write(&folder.0).unwrap();
    assert_eq!(LabFile::read(&folder.0).unwrap().pid, std::process::id());
}

#[test]
fn file_of_a_lab_that_was_killed_is_told() {
    let folder = Folder::new();
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    file_of(child.id()).write(&folder.0).unwrap();
    let reason = format!("{:#}", LabFile::read(&folder.0).unwrap_err());
    assert!(reason.contains("a lab that was killed"), "{reason}");
    assert!(reason.contains("cargo lab serve"), "{reason}");
}

#[test]
fn file_with_passwords_is_its_owners_alone() {
    let folder = Folder::new();
    let left = folder.0.join("lab.json.new");
    fs::write(&left, "left by a lab that was killed").unwrap();
    fs::set_permissions(&left, fs::Permissions::from_mode(0o644)).unwrap();
    file_of(1).write(&folder.0).unwrap();
    let mode = fs::metadata(LabFile::path(&folder.0))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}
