//! c: what a client reads of the inside, and what it may not.

use anyhow::{Context, Result};

use super::Stage;
use super::report::{Report, ensure};
use super::signin::expect;
use crate::client::{Remote, child, descendant};
use crate::names::Names;

/// The chapter.
pub(super) async fn walk(stage: &Stage, report: &mut Report) {
    report.part('c', "Read directory, device and voicemail");
    report
        .step("UDS tells who alice is", async { record(stage).await })
        .await;
    report
        .step("UDS tells her devices", async { devices(stage).await })
        .await;
    report
        .step("the directory finds bob", async { search(stage).await })
        .await;
    report
        .step("her device's configuration file", async {
            file(stage).await
        })
        .await;
    report
        .step("her voicemail", async { voicemail(stage).await })
        .await;
    report
        .step("a page that the allow list names", async {
            allowed(stage).await
        })
        .await;
    report
        .step("one that it does not is refused and never dialled", async {
            forbidden(stage).await
        })
        .await;
    report
        .step("another user's record is refused", async {
            others(stage).await
        })
        .await;
    report
        .step("nothing without password and cookie", async {
            stranger(stage).await
        })
        .await;
}

async fn record(stage: &Stage) -> Result<((), String)> {
    let alice = stage.alice()?;
    let user = alice
        .ask_uds(&format!("/cucm-uds/user/{}", alice.user.name))
        .await?;
    let text = |name: &str| {
        descendant(&user, name)
            .map(|e| e.text())
            .unwrap_or_default()
    };
    ensure(text("userName") == alice.user.name, || {
        format!("userName is {}", text("userName"))
    })?;
    let profile = text("serviceProfile").trim().to_owned();
    Ok((
        (),
        format!(
            "{}, {}",
            text("displayName"),
            if profile.is_empty() {
                text("phoneNumber")
            } else {
                profile
            }
        ),
    ))
}

async fn devices(stage: &Stage) -> Result<((), String)> {
    let alice = stage.alice()?;
    let devices = alice.devices().await?;
    ensure(devices.contains(&alice.user.device), || {
        format!("they are {devices:?}")
    })?;
    Ok(((), devices.join(", ")))
}

async fn search(stage: &Stage) -> Result<((), String)> {
    let alice = stage.alice()?;
    let bob = stage.user("bob")?;
    let users = alice.ask_uds("/cucm-uds/users?name=bo").await?;
    let found: Vec<(String, String)> = users
        .children()
        .filter_map(|user| {
            Some((
                child(user, "userName")?.text(),
                child(user, "phoneNumber")?.text(),
            ))
        })
        .collect();
    let wanted = (bob.name.clone(), bob.extension.clone());
    ensure(found.contains(&wanted), || format!("it finds {found:?}"))?;
    Ok(((), format!("“bo” → {} {}", wanted.0, wanted.1)))
}

async fn file(stage: &Stage) -> Result<((), String)> {
    let alice = stage.alice()?;
    let config = alice.config.as_ref().context("not signed in")?;
    let server = config.files.first().context("no file server")?;
    let path = format!("/{}.cnf.xml", alice.user.device);
    let reply = alice.ask(("http", server, 6970), &path).await?;
    expect(&reply, 200)?;
    let text = reply.text();
    ensure(
        text.contains("<device") && text.contains("callManager"),
        || "it is no device file".into(),
    )?;
    Ok((
        (),
        format!("http://{server}:6970{path}, {} bytes", reply.body.len()),
    ))
}

async fn voicemail(stage: &Stage) -> Result<((), String)> {
    let alice = stage.alice()?;
    let unity = stage
        .house
        .file
        .inside
        .unity
        .first()
        .context("the lab has no voicemail")?;
    let path = "/vmrest/mailbox/folders/inbox/messages";
    let reply = alice
        .ask(("https", &unity.name, unity.https.port()), path)
        .await?;
    expect(&reply, 200)?;
    ensure(reply.text().contains("essage"), || "it is no inbox".into())?;
    Ok(((), format!("https://{}{path}", unity.name)))
}

async fn allowed(stage: &Stage) -> Result<((), String)> {
    let alice = stage.alice()?;
    let (host, port) = name_of(stage, &stage.house.file.inside.allowed_web).await?;
    let reply = alice.ask(("http", &host, port), "/").await?;
    expect(&reply, 200)?;
    ensure(reply.text().contains("A page inside"), || {
        "it is another page".into()
    })?;
    Ok(((), format!("http://{host}:{port}/")))
}

async fn forbidden(stage: &Stage) -> Result<((), String)> {
    let alice = stage.alice()?;
    let url = &stage.house.file.inside.forbidden_web;
    let (host, port) = place(url)?;
    let before = visits(&host, port).await?;
    let reply = alice.ask(("http", &host, port), "/").await?;
    expect(&reply, 403)?;
    let visits = visits(&host, port).await?;
    ensure(visits == before, || {
        format!("{} connections reached it", visits - before)
    })?;
    ensure(visits == 0, || {
        format!("{visits} connections reached it before")
    })?;
    Ok(((), format!("403, and its own count of visits is {visits}")))
}

async fn others(stage: &Stage) -> Result<((), String)> {
    let alice = stage.alice()?;
    let reply = alice
        .ask(alice.uds()?, "/cucm-uds/user/bob/devices")
        .await?;
    ensure(matches!(reply.status, 401 | 403), || {
        format!("{} came", reply.status)
    })?;
    Ok(((), format!("bob's devices for alice: {}", reply.status)))
}

async fn stranger(stage: &Stage) -> Result<((), String)> {
    let alice: &Remote = stage.alice()?;
    let reply = alice
        .ask_as_a_stranger(alice.uds()?, "/cucm-uds/servers")
        .await?;
    ensure(matches!(reply.status, 401 | 403), || {
        format!("{} came", reply.status)
    })?;
    Ok(((), format!("{}", reply.status)))
}

/// Host and port of an `http://HOST:PORT/`.
fn place(url: &str) -> Result<(String, u16)> {
    let uri: http::Uri = url.parse()?;
    let host = uri.host().context("a host")?.to_owned();
    Ok((host, uri.port_u16().unwrap_or(80)))
}

/// The same with the host's name, if the inside DNS has one for web servers.
async fn name_of(stage: &Stage, url: &str) -> Result<(String, u16)> {
    let (address, port) = place(url)?;
    let names = Names::new(stage.house.file.dns_inside)?;
    let name = format!("web1.{}", stage.house.file.domain);
    match names.address(&name).await {
        Ok(ip) if ip.to_string() == address => Ok((name, port)),
        _ => Ok((address, port)),
    }
}

/// What the forbidden server counts, asked from inside.
async fn visits(host: &str, port: u16) -> Result<u64> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect((host, port)).await?;
    stream
        .write_all(b"GET /count HTTP/1.1\r\nHost: count\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let count = answer.rsplit("\r\n\r\n").next().unwrap_or_default().trim();
    count
        .parse()
        .with_context(|| format!("its count is {count:?}"))
}
