//! Files of users, good and bad.

use super::*;

fn folder(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("causeway-users-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

fn add(path: &Path, name: &str, password: &str, realms: &[&str]) -> Result<(), UsersFault> {
    let realms: Vec<String> = realms.iter().map(|r| (*r).to_owned()).collect();
    let change_ = Change::Add {
        name,
        password: &secret(password),
        lines: &["1001".to_owned()],
        realms: &realms,
    };
    change(path, &[7; 16], &change_)
}

#[test]
fn a_user_is_added_checked_given_another_password_and_removed() {
    let path = folder("whole").join("users");
    std::fs::write(&path, "# our users\n\n").unwrap();
    add(&path, "Alice", "secret", &["example.test"]).unwrap();
    add(&path, "bob", "other", &[]).unwrap();
    assert_eq!(add(&path, "ALICE", "x", &[]), Err(UsersFault::Taken));
    let users = Users::read(&path).unwrap();
    let alice = users.check("alice", &secret("secret")).unwrap();
    assert_eq!(
        (alice.name.expose().as_str(), &alice.lines[..]),
        ("Alice", &["1001".to_owned()][..])
    );
    assert_eq!(alice.realms().collect::<Vec<_>>(), ["example.test"]);
    for (name, password) in [("alice", "Secret"), ("alice", ""), ("carol", "secret")] {
        assert!(
            users.check(name, &secret(password)).is_none(),
            "{name} {password}"
        );
    }
    let new = secret("new");
    let (name, password) = ("alice", &new);
    change(&path, &[8; 16], &Change::Password { name, password }).unwrap();
    let later = Users::read(&path).unwrap();
    assert!(later.check("alice", &secret("secret")).is_none());
    let alice = later.check("alice", &new).unwrap();
    assert_eq!(alice.realms[0].1, Ha1::of("Alice", "example.test", "new"));
    assert_eq!(users.gone(&later), [Pii::new("Alice".to_owned())]);
    change(&path, &[9; 16], &Change::Remove { name: "BOB" }).unwrap();
    assert_eq!(Users::read(&path).unwrap().sorted().len(), 1);
    let nobody = change(&path, &[9; 16], &Change::Remove { name: "bob" });
    assert_eq!(nobody, Err(UsersFault::Nobody));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        text.starts_with("# our users\n\nAlice:$argon2id$"),
        "{text}"
    );
    assert!(!text.contains("new") && !text.contains("secret"));
    assert!(!crate::files::is_exposed(&path));
}

#[test]
fn a_line_that_is_malformed_is_named_and_nothing_is_taken() {
    let hash = Argon2::default()
        .hash_password_with_salt(b"pw", &[1; 16])
        .unwrap();
    let hash = hash.to_string();
    assert!(Users::parse(&format!("a:{hash}\nb:{hash}:1,2\nc:{hash}::")).is_err());
    let huge = hash.replace("m=19456", "m=999999");
    let (md5, sha) = ("0".repeat(32), "1".repeat(64));
    for bad in [
        "a".to_owned(),
        "a:pw".to_owned(),
        format!(":{hash}"),
        format!("a b:{hash}"),
        format!("a:{}", hash.replace("argon2id", "argon2d")),
        format!("a:{huge}"),
        format!("a:{hash}:1:realm:{md5}"),
        format!("a:{hash}:1:realm:{md5}:{md5}"),
        format!("a:{hash}:1:realm:{md5}:{sha}:x"),
    ] {
        let fault = Users::parse(&format!("# x\nz:{hash}\n{bad}\n")).unwrap_err();
        assert!(matches!(fault, UsersFault::Line(3, _)), "{bad}: {fault}");
    }
    let twice = Users::parse(&format!("a:{hash}\nA:{hash}\n")).unwrap_err();
    assert!(matches!(twice, UsersFault::Line(2, _)), "{twice}");
    assert!(Users::parse(&format!("a:{hash}:1:realm:{md5}:{sha}\n")).is_ok());
}

#[test]
fn what_cannot_stand_in_the_file_is_refused_and_the_file_stays() {
    let path = folder("unfit").join("users");
    add(&path, "alice", "pw", &[]).unwrap();
    let before = std::fs::read(&path).unwrap();
    for name in ["", "a:b", "a\nb", "a b", "#a", &"a".repeat(257)] {
        assert!(
            matches!(add(&path, name, "pw", &[]), Err(UsersFault::Unfit(_))),
            "{name}"
        );
    }
    assert!(matches!(
        add(&path, "bob", "", &[]),
        Err(UsersFault::Unfit(_))
    ));
    assert!(matches!(
        add(&path, "bob", "pw", &["a:b"]),
        Err(UsersFault::Unfit(_))
    ));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn changes_at_the_same_time_are_all_kept() {
    let path = folder("race").join("users");
    std::thread::scope(|scope| {
        for n in 0..6 {
            let path = &path;
            scope.spawn(move || add(path, &format!("user{n}"), "pw", &[]).unwrap());
        }
    });
    assert_eq!(Users::read(&path).unwrap().sorted().len(), 6);
}

#[test]
fn a_file_stays_its_owners_with_its_mode_whoever_changes_it() {
    use std::os::unix::fs::chown;
    let of = |path: &Path| {
        let meta = std::fs::metadata(path).unwrap();
        (meta.uid(), meta.gid(), meta.permissions().mode() & 0o777)
    };
    let folder = folder("owner");
    let (new, kept) = (folder.join("new"), folder.join("kept"));
    std::fs::write(&kept, "").unwrap();
    std::fs::set_permissions(&kept, PermissionsExt::from_mode(0o640)).unwrap();
    // Only root may give files away; without it the mode is what there is to see.
    let _ = chown(&kept, Some(4242), Some(4243));
    let _ = chown(&folder, Some(4244), Some(4245));
    let (before, (uid, gid, _)) = (of(&kept), of(&folder));
    add(&kept, "alice", "secret", &[]).unwrap();
    add(&new, "alice", "secret", &[]).unwrap();
    assert_eq!(of(&kept), before);
    assert_eq!(of(&new), (uid, gid, 0o600));
    assert_eq!(of(&folder.join("kept.lock")), (before.0, before.1, 0o600));
    assert_eq!(of(&folder.join("new.lock")), (uid, gid, 0o600));
}

#[test]
fn a_user_whose_lines_are_taken_away_is_another_one() {
    let verifier = made("alice", &[7; 16], &secret("pw"), &[], &[]).unwrap();
    let verifier = verifier.verifier.expose();
    let users = |lines: &str| Users::parse(&format!("alice:{verifier}:{lines}\n")).unwrap();
    let before = users("1001,1002");
    assert!(before.gone(&users("1001,1002")).is_empty());
    assert_eq!(before.gone(&users("1001")), [Pii::new("alice".to_owned())]);
}
