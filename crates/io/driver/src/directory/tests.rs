//! Files of users that become unusable, and directories that do not hold up one another.

use super::*;
use crate::signal::Post;
use tokio::sync::mpsc::Receiver;

fn directories(handle: &Handle, domains: &[(&str, Directory)]) -> Directories {
    let own = domains
        .iter()
        .map(|(d, how)| ((*d).to_owned(), how.clone()));
    Directories {
        handle: handle.clone(),
        by_domain: Arc::new(own.collect()),
        waiting: Arc::new(Semaphore::new(WAITING_MAX)),
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
