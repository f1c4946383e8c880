//! `causeway ctl dns`: what DNS says where this node stands, and whether it says what it should.
//!
//! The configuration's own servers are asked, by this process: the node need not run. The hosts
//! file counts in the inside's check alone.

use std::net::{IpAddr, SocketAddr};

use admin::dns::check::{self, Grade, Side};
use admin::dns::{self, Outcome};
use anyhow::Context;
use base::{DomainName, Rng};
use clap::{Args, Subcommand, ValueEnum};
use config::{Config, Role};
use net::dns::Resolver;
use net::dns::lookup::Kind;
use serde_json::json;

use super::code;
use crate::place::FileArg;

#[derive(Subcommand)]
pub(crate) enum Dns {
    /// Show records as the servers have them, without this machine's hosts file. Exit status 1 if
    /// there is none, 3 if a server did not answer.
    Lookup(Lookup),
    /// Say whether DNS is split as it must be: found where clients look, hidden where they must
    /// not. Exit status 1 if something is wrong, 3 if that cannot be told.
    Check(Check),
}

#[derive(Args)]
pub(crate) struct Lookup {
    #[command(flatten)]
    file: FileArg,
    #[command(flatten)]
    ask: Ask,
    /// A host, a service (`_collab-edge._tls.example.com`), an address, or a domain, of which
    /// all services are looked up.
    name: String,
    /// Only records of this type; may be repeated.
    #[arg(long = "type", value_name = "TYPE")]
    kinds: Vec<Type>,
}

#[derive(Args)]
pub(crate) struct Check {
    #[command(flatten)]
    file: FileArg,
    #[command(flatten)]
    ask: Ask,
    /// A domain that is served; may be repeated. A core knows its own; an edge is told by its
    /// core, and looks at its own domain unless one is named here.
    #[arg(long, value_name = "NAME")]
    domain: Vec<DomainName>,
    /// Judge as clients on the internet see it: what an edge does by itself.
    #[arg(long)]
    outside: bool,
}

#[derive(Args)]
struct Ask {
    /// Ask this server instead of the configuration's: an address, and a port if not 53.
    #[arg(long, value_name = "ADDRESS", value_parser = server)]
    server: Option<SocketAddr>,
    /// One JSON object, for programs.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Type {
    A,
    Aaaa,
    Srv,
    Naptr,
    Ptr,
}

impl Type {
    fn kind(self) -> Kind {
        match self {
            Type::A => Kind::A,
            Type::Aaaa => Kind::Aaaa,
            Type::Srv => Kind::Srv,
            Type::Naptr => Kind::Naptr,
            Type::Ptr => Kind::Ptr,
        }
    }
}

pub(super) fn run(command: Dns) -> anyhow::Result<u8> {
    crate::runtime()?.block_on(async {
        match command {
            Dns::Lookup(asked) => lookup(asked).await,
            Dns::Check(asked) => check(asked).await,
        }
    })
}

async fn lookup(asked: Lookup) -> anyhow::Result<u8> {
    let (config, _) = asked.file.load()?;
    let resolver = resolver(&config, &asked.ask, false)?;
    let kinds: Vec<Kind> = asked.kinds.iter().map(|t| t.kind()).collect();
    let view = dns::ask(&resolver, dns::questions(&asked.name, &kinds)).await;
    if asked.ask.json {
        let answers = dns::as_json(&view);
        let whole = json!({
            "node": config.fqdn(), "view": stands(&config), "servers": servers(&resolver),
            "answers": answers,
        });
        println!("{whole}");
    } else {
        print!(
            "{}\n{}",
            head(&config, stands(&config), &resolver),
            dns::text(&view)
        );
    }
    Ok(match dns::outcome(&view) {
        Outcome::Found => code::DONE,
        Outcome::Absent => code::REFUSED,
        Outcome::Unknown => code::CANNOT_TELL,
    })
}

async fn check(asked: Check) -> anyhow::Result<u8> {
    let (config, _) = asked.file.load()?;
    let mut domains: Vec<String> = asked.domain.iter().map(|d| d.to_string()).collect();
    let side = match config.role {
        Role::Core(_) if !asked.outside => Side::Inside,
        _ => Side::Outside,
    };
    if domains.is_empty() && matches!(config.role, Role::Edge(_)) {
        domains.push(config.domain.to_string());
    }
    // Outside nobody has this machine's hosts file; inside the node itself goes by it.
    let resolver = resolver(&config, &asked.ask, side == Side::Inside)?;
    let wants = check::wanted(&config, side, &domains);
    let view = check::look(&resolver, &wants).await;
    let findings = check::judge(&wants, side, &view);
    let seen = match side {
        Side::Outside => "judged as clients outside see it",
        Side::Inside => "judged as the inside sees it",
    };
    if asked.ask.json {
        let whole = json!({
            "node": config.fqdn(), "view": seen, "servers": servers(&resolver),
            "answers": dns::as_json(&view), "findings": check::as_json(&findings),
        });
        println!("{whole}");
    } else {
        print!("{}\n{}\n", head(&config, seen, &resolver), dns::text(&view));
        print!("{}", check::text(&findings));
        if findings.is_empty() {
            println!("all is well: {} names looked at", wants.len());
        }
    }
    Ok(match check::worst(&findings) {
        Some(Grade::Error) => code::REFUSED,
        Some(Grade::Unknown) => code::CANNOT_TELL,
        Some(Grade::Warning) | None => code::DONE,
    })
}

fn resolver(config: &Config, ask: &Ask, hosts_file: bool) -> anyhow::Result<Resolver> {
    let servers = match ask.server {
        None => config.dns.clone(),
        Some(server) => vec![server],
    };
    let rng = Rng::from_seed(net::random_seed()?);
    Ok(if hosts_file {
        Resolver::new(&servers, rng)?
    } else {
        Resolver::of_servers_alone(&servers, rng)?
    })
}

/// `192.0.2.53`, `192.0.2.53:5353`, `2001:db8::53` or `[2001:db8::53]:5353`.
fn server(text: &str) -> anyhow::Result<SocketAddr> {
    let alone = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
    alone
        .or_else(|_| text.parse())
        .with_context(|| format!("{text} is no address of a DNS server"))
}

/// Which view the node has.
fn stands(config: &Config) -> &'static str {
    match config.role {
        Role::Edge(_) => "the DMZ's view, which need not be the internet's",
        Role::Core(_) => "the inside view",
    }
}

fn servers(resolver: &Resolver) -> Vec<String> {
    let mut shown: Vec<String> = resolver.servers().iter().map(|s| s.to_string()).collect();
    shown.dedup();
    shown
}

fn head(config: &Config, view: &str, resolver: &Resolver) -> String {
    let asked = servers(resolver).join(", ");
    format!("{} · {view} · asks {asked}\n", config.fqdn())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_address_with_or_without_a_port() {
        for (text, want) in [
            ("192.0.2.53", "192.0.2.53:53"),
            ("192.0.2.53:5353", "192.0.2.53:5353"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
        ] {
            assert_eq!(server(text).unwrap().to_string(), want);
        }
        assert!(server("dns.example.test").is_err());
    }
}
