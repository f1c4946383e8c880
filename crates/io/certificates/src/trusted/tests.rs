//! The folder of trusted authorities.

use super::*;

const NOW: UnixTime = UnixTime::from_millis(1_798_761_600_000);

/// A folder of its own, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let process = std::process::id();
        let path = std::env::temp_dir().join(format!("causeway-trusted-{name}-{process}"));
        let _ = std::fs::remove_dir_all(&path);
        Folder(path)
    }

    fn store(&self) -> Store {
        Store::of(&self.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn authority(name: &str) -> String {
    let mut params = rcgen::CertificateParams::default();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().pem()
}

#[test]
fn two_of_one_name_live_together_and_are_removed_one_by_one() {
    let folder = Folder::new("two");
    let store = folder.store();
    assert_eq!(store.list().unwrap(), []);
    let [one, two] = [authority("Same"), authority("Same")];
    assert!(store.add(one.as_bytes(), NOW).unwrap()[0].note.is_none());
    let added = store.add(two.as_bytes(), NOW).unwrap();
    let note = added[0].note.as_deref().unwrap();
    assert!(note.contains("both count"), "{note}");
    assert_eq!(store.list().unwrap().len(), 2);
    let again = store.add([one, two].concat().as_bytes(), NOW).unwrap();
    assert!(again.iter().all(|a| a.known));
    assert_eq!(store.list().unwrap().len(), 2);
    let gone = added[0].certificate.fingerprint.clone();
    let spelt: Vec<String> = gone.as_bytes()[..12]
        .chunks(2)
        .map(|two| String::from_utf8_lossy(two).to_uppercase())
        .collect();
    assert_eq!(store.remove(&spelt.join(":")).unwrap().fingerprint, gone);
    assert_eq!(store.list().unwrap().len(), 1);
    for which in [gone.as_str(), "", "abc"] {
        assert!(matches!(store.remove(which), Err(TrustFault::Which(_))));
    }
}

#[test]
fn what_is_no_certificate_is_not_added_and_named() {
    let folder = Folder::new("none");
    let store = folder.store();
    let fault = store.add(b"hello", NOW).unwrap_err().to_string();
    assert!(
        fault.contains("no-certificate") && fault.contains("fix:"),
        "{fault}"
    );
    let spoilt = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let half = format!("{}{spoilt}", authority("Good"));
    assert!(store.add(half.as_bytes(), NOW).is_err());
    assert_eq!(store.list().unwrap(), []);
}

#[test]
fn a_file_that_was_changed_by_hand_is_named() {
    let folder = Folder::new("spoilt");
    let store = folder.store();
    let added = store.add(authority("One").as_bytes(), NOW).unwrap();
    let path = store.path(&added[0].certificate);
    std::fs::write(&path, authority("Two")).unwrap();
    let fault = store.list().unwrap_err().to_string();
    assert!(
        fault.contains(path.to_str().unwrap()) && fault.contains("remove"),
        "{fault}"
    );
    // What is left of a write that was cut short is nobody's certificate.
    std::fs::rename(&path, path.with_extension("new")).unwrap();
    assert_eq!(store.list().unwrap(), []);
}
