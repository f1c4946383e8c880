//! Browsers that sign in at an identity provider, where there are two edges and two cores.

use node::io::Reply;
use sim::checks::under_seeds;
use sim::idp::field;
use sim::ua::SECOND;
use sim::world::{Plan, World};

fn plan(_: u64) -> Plan {
    Plan {
        edges: 2,
        cores: 2,
        clients: 1,
        phones: 0,
        sso: true,
        ..Plan::SMALL
    }
}

fn browse(w: &mut World, edge: usize, target: &str, cookie: &str, token: &str) -> Reply {
    let n = w.browse(edge, target, cookie, token);
    assert!(w.run_until(10 * SECOND, |w| w.sign_ins[n].reply.is_some()));
    w.sign_ins[n].reply.clone().unwrap()
}

fn header<'r>(reply: &'r Reply, name: &str) -> &'r str {
    let found = reply.headers.iter().find(|(n, _)| *n == name);
    found.map_or("", |(_, value)| value.as_str())
}

/// The value of the cookie of a name.
fn cookie(reply: &Reply, name: &str) -> String {
    let set = header(reply, "Set-Cookie").strip_prefix(name).unwrap();
    let value = set.strip_prefix('=').unwrap().split(';').next();
    value.unwrap().to_owned()
}

/// Begins at an edge, and signs in at the provider: what comes next, and the browser's cookie.
fn begin(w: &mut World, edge: usize) -> (String, String) {
    let reply = browse(w, edge, "authorize?response_type=token&state=s", "", "");
    assert_eq!(reply.status, 302);
    let next = w.web.idp.sign_in(header(&reply, "Location"));
    (next, cookie(&reply, "X-Sign-In"))
}

/// Of a client's own: which of a core's sessions there are.
fn sessions(w: &World, core: usize) -> usize {
    let node = w.core(core);
    let look = node.engine.as_ref().map(|e| e.snapshot(node.now(w.now)));
    look.map_or(0, |look| look.sessions.len())
}

#[test]
fn a_browser_comes_back_by_any_edge_to_the_core_at_which_it_began_and_but_once() {
    under_seeds(4, plan, |w: &mut World| {
        w.ready();
        // It begins at the second core, the first being away; then the first is back.
        let first = w.core_number(0);
        w.kill(first);
        w.run(2 * SECOND);
        let (next, mark) = begin(w, 0);
        w.start(first);
        assert!(w.run_until(60 * SECOND, World::all_linked));
        w.run(2 * SECOND);
        let reply = browse(w, 1, &next, &mark, "");
        let (_, fragment) = header(&reply, "Location").split_once('#').unwrap();
        let token = field(fragment, "access_token").unwrap().to_owned();
        assert_eq!(
            (reply.status, cookie(&reply, "X-Auth")),
            (302, token.clone())
        );
        // Its session is the second core's, whichever edge is asked.
        for edge in [0, 1] {
            let config = browse(w, edge, "get_edge_config", "", &token);
            assert_eq!(config.status, 200);
        }
        assert!(sessions(w, 0) == 0 && sessions(w, 1) > 0);
        // What has come back once counts no more, at whatever core.
        for edge in [0, 1] {
            assert_eq!(browse(w, edge, &next, &mark, "").status, 403);
        }
        assert_eq!(w.web.idp.shown, 1, "the code was shown once");
        w.quiet();
    });
}

#[test]
fn a_browser_whose_core_died_meanwhile_is_told_to_begin_again_and_does() {
    under_seeds(4, plan, |w: &mut World| {
        w.ready();
        let (next, mark) = begin(w, 0);
        let first = w.core_number(0);
        w.kill(first);
        w.run(2 * SECOND);
        // More often than wrong answers are heard of one source.
        for _ in 0..12 {
            let reply = browse(w, 1, &next, &mark, "");
            assert_eq!(reply.status, 410);
            assert!(
                reply.body.contains("begin again in the application"),
                "{}",
                reply.body
            );
        }
        let (again, other) = begin(w, 1);
        assert_eq!(browse(w, 0, &again, &other, "").status, 302);
        // The first is back, and knows nothing of it either.
        w.start(first);
        assert!(w.run_until(60 * SECOND, World::all_linked));
        w.run(2 * SECOND);
        assert_eq!(browse(w, 0, &next, &mark, "").status, 410);
        assert_eq!(
            w.web.idp.shown, 1,
            "nothing was shown for the one that was lost"
        );
        w.quiet();
    });
}
