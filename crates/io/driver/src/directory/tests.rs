//! Files of users that become unusable, and directories that do not hold up one another.

use super::*;
use crate::signal::Post;
use tokio::sync::mpsc::Receiver;

fn directories(handle: &Handle, domains: &[(&str, Directory)]) -> Directories {
    let own = |(d, how): &(&str, Directory)| ((*d).to_owned(), Own::new(how.clone()));
    let own = domains.iter().map(own);
    Directories {
        handle: handle.clone(),
        by_domain: Arc::new(own.collect()),
        checks: Arc::new(Semaphore::new(CHECKS_MAX)),
    }
}

fn file(name: &str) -> PathBuf {
    let folder =
        std::env::temp_dir().join(format!("causeway-directory-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder.join("users")
}

async fn next(posts: &mut Receiver<Post>) -> Input {
    match posts.recv().await {
        Some(Post::Input(input)) => input,
        _ => panic!("no input"),
    }
}

#[tokio::test]
async fn a_file_that_becomes_unusable_is_told_at_once_and_once() {
    let path = file("unusable");
    let (handle, mut posts) = Handle::new();
    let how = Directory::File(Arc::new(UserFile::new(path.clone())));
    let all = directories(&handle, &[("own.test", how)]);
    let (stop, stopped) = watch::channel(false);
    let watching = tokio::spawn(all.watch(stopped));
    // It is missing.
    let Input::Report(Report::UsersFile { domain, cause }) = next(&mut posts).await else {
        panic!("something else");
    };
    assert_eq!(domain, "own.test");
    assert!(cause.contains(&path.display().to_string()), "{cause}");
    std::fs::write(&path, "# nobody\n").unwrap();
    assert!(matches!(next(&mut posts).await, Input::Users { .. }));
    std::fs::write(&path, "# nobody\nalice\n").unwrap();
    let Input::Report(Report::UsersFile { cause, .. }) = next(&mut posts).await else {
        panic!("something else");
    };
    assert!(cause.contains("line 2"), "{cause}");
    // What is the same is not told again: the next is the file that is in order.
    std::fs::write(&path, "# nobody at all\n").unwrap();
    assert!(matches!(next(&mut posts).await, Input::Users { .. }));
    stop.send_replace(true);
    watching.await.unwrap();
}

/// A directory at servers that take connections and say nothing.
fn silent(servers: &[std::net::TcpListener], connections_max: usize) -> Directory {
    let server = |l: &std::net::TcpListener| config::LdapServer {
        host: "127.0.0.1".into(),
        port: l.local_addr().unwrap().port(),
        start_tls: true,
    };
    let settings = config::Ldap {
        servers: servers.iter().map(server).collect(),
        user: config::LdapUser::Template("uid={user},dc=example".into()),
        account_attribute: None,
        lines_attribute: None,
        timeout: Duration::from_secs(60),
        connections_max,
    };
    Directory::Ldap(Ldap::new(&settings, resolver(), tls()))
}

/// What asks nobody: addresses are written as such.
fn resolver() -> net::dns::Resolver {
    let nobody = ["127.0.0.1:9".parse().unwrap()];
    net::dns::Resolver::new(&nobody, base::Rng::from_number(1)).unwrap()
}

/// Trusts whoever a directory is: none is asked for a password here.
fn tls() -> Live<ClientConfig> {
    Live::new(net::tls::inside_client(None, &[]).unwrap())
}

fn listener() -> std::net::TcpListener {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap()
}

#[tokio::test]
async fn a_directory_that_is_dead_holds_up_no_other() {
    let path = file("dead");
    std::fs::write(&path, "# nobody\n").unwrap();
    let (handle, mut posts) = Handle::new();
    let servers = [listener()];
    let files = Directory::File(Arc::new(UserFile::new(path)));
    let dead = silent(&servers, 8);
    let all = directories(&handle, &[("dead.test", dead), ("own.test", files)]);
    let (alice, secret) = (
        || Pii::new("alice".to_owned()),
        || Secret::new("x".to_owned()),
    );
    for n in 0..=WAITING_MAX as u64 {
        all.prove(AskId(n), "dead.test", alice(), secret());
    }
    all.prove(AskId(9999), "own.test", alice(), secret());
    let mut got = Vec::new();
    for _ in 0..2 {
        if let Input::Proved { id, result } = next(&mut posts).await {
            got.push((id.0, result.unwrap_err()));
        }
    }
    got.sort_by_key(|(id, _)| *id);
    let [(full, why), (file, wrong)] = &got[..] else {
        panic!("{got:?}");
    };
    assert_eq!((*full, *file), (WAITING_MAX as u64, 9999));
    assert!(matches!(why, Unproven::Unreachable { why, .. } if why.contains("too many")));
    assert!(matches!(wrong, Unproven::Wrong(_)), "{wrong:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_connection_to_a_directory_is_told_when_none_becomes_free() {
    let (handle, mut posts) = Handle::new();
    let servers = [listener(), listener()];
    let dead = silent(&servers, 1);
    let all = directories(&handle, &[("dead.test", dead)]);
    for n in 0..2 {
        let (user, password) = (Pii::new("alice".to_owned()), Secret::new("x".to_owned()));
        all.prove(AskId(n), "dead.test", user, password);
    }
    // The other one goes from server to server meanwhile, a minute each.
    let Input::Proved { result, .. } = next(&mut posts).await else {
        panic!("something else");
    };
    let Err(Unproven::Unreachable { why, .. }) = result else {
        panic!("{result:?}");
    };
    assert_eq!(why, "all 1 connections to it were busy for 60 s");
}
