//! `cargo lab signin`: what a client learns when it signs in.

use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::json;

use super::{Teller, sign_in};
use crate::command::Signin;
use crate::file::LabFile;

/// Signs in and reads record, devices and device file.
///
/// # Errors
/// No lab runs in that folder.
pub(crate) async fn signin(options: &Signin) -> Result<ExitCode> {
    let lab = LabFile::read(&options.dir)?;
    let mut teller = Teller::new(options.json);
    let outcome = run(options, &lab, &mut teller).await;
    Ok(teller.end(outcome))
}

async fn run(options: &Signin, lab: &LabFile, teller: &mut Teller) -> Result<()> {
    let remote = sign_in(lab, &options.user, options.password.as_deref()).await?;
    let (edge, name) = (&remote.edge, &remote.user.name);
    teller.tell(
        "edge",
        edge.name.clone(),
        &format!("edge {} at {}", edge.name, edge.https),
    );
    teller.tell("user", name.clone(), &format!("{name} is signed in"));
    let config = remote.config.as_ref().context("no configuration")?;
    let shown = |list: &[(String, u16)]| -> Vec<String> {
        list.iter()
            .map(|(host, port)| format!("{host}:{port}"))
            .collect()
    };
    for (key, what, list) in [
        ("sip", "telephone at", &config.sip),
        ("xmpp", "chat at", &config.xmpp),
        ("https", "everything else at", &config.https),
        ("uds", "own directory server", &config.uds),
    ] {
        let list = shown(list);
        teller.tell(key, json!(list), &format!("{what} {}", list.join(", ")));
    }
    if let Some(route) = &config.route {
        teller.tell("route", route.clone(), &format!("route {route}"));
    }
    let files = config.files.join(", ");
    teller.tell(
        "files",
        json!(config.files),
        &format!("configuration files at {files}"),
    );
    let devices = remote.devices().await.context("reading the devices")?;
    teller.tell(
        "devices",
        json!(devices),
        &format!("devices {}", devices.join(", ")),
    );
    let server = config.files.first().context("no file server")?;
    let path = format!("/{}.cnf.xml", remote.user.device);
    let reply = remote.ask(("http", server, 6970), &path).await?;
    let size = reply.body.len();
    let text = format!("http://{server}:6970{path}: {}, {size} bytes", reply.status);
    teller.tell(
        "device_file",
        json!({ "status": reply.status, "bytes": size }),
        &text,
    );
    Ok(())
}
