//! Sign-in and registration.

use sim::checks::under_seeds;
use sim::house::Control;
use sim::pipe::Weather;
use sim::ua::{SECOND, Standing};
use sim::world::{Plan, World};
use status::Kind;

fn control(seed: u64) -> Control {
    [Control::UnifiedCm, Control::Path, Control::Rewrite][(seed % 3) as usize]
}

fn plan(seed: u64) -> Plan {
    Plan {
        clients: 3,
        phones: 1,
        control: control(seed),
        nat: seed.is_multiple_of(2),
        weather: if seed % 4 == 3 {
            [Weather::FOUL; 3]
        } else {
            [Weather::FAIR; 3]
        },
        skew_ms: 1_000,
        ..Plan::SMALL
    }
}

#[test]
fn clients_register_refresh_and_unregister() {
    under_seeds(8, plan, |w: &mut World| {
        w.ready();
        for (number, contact, path) in w.pbx.registered.clone() {
            if number.starts_with("10") {
                match w.plan.control {
                    Control::Path => assert!(path[0].contains("10.0.0.20"), "{path:?}"),
                    _ => assert!(contact.contains("@10.0.0.20:5060"), "{contact}"),
                }
            }
        }
        let echoed = w.people[0].ua.registration.echoed.clone();
        assert!(echoed.contains(&w.people[0].ua.setup.host), "{echoed}");
        w.run(300 * SECOND);
        for i in 0..3 {
            assert!(w.registered(i));
            assert!(w.people[i].ua.registration.granted >= 3, "refreshed");
        }
        w.with(0, |ua, now| ua.unregister(now));
        w.run(10 * SECOND);
        assert_eq!(w.people[0].ua.registration.standing, Standing::Gone);
        assert!(!w.pbx.numbers().contains(&"1001"));
        assert!(w.pbx.numbers().contains(&"1002"));
        w.quiet();
    });
}

#[test]
fn a_registration_that_is_not_refreshed_ends_everywhere() {
    under_seeds(4, plan, |w: &mut World| {
        w.ready();
        w.people[0].ua.registration.wanted = false;
        w.run(200 * SECOND);
        for g in 0..w.gateways.len() {
            let now = w.gateways[g].now(w.now);
            let rows = w.gateways[g]
                .engine
                .as_ref()
                .map(|e| e.snapshot(now).registrations);
            assert_eq!(rows.map(|r| r.len()), Some(2), "{}", w.gateways[g].name);
        }
        w.quiet();
    });
}

#[test]
fn a_wrong_password_is_refused_at_sign_in_and_at_registration() {
    under_seeds(4, plan, |w: &mut World| {
        w.ready();
        let wrong = w.sign_in(1, Some("not it"));
        w.run(20 * SECOND);
        let status = w.sign_ins[wrong].reply.as_ref().map(|r| r.status);
        assert_eq!(status, Some(401));
        w.with(0, |ua, now| ua.unregister(now));
        w.run(10 * SECOND);
        if let Some(login) = &mut w.people[0].ua.setup.login {
            login.password = "not it either".into();
        }
        let before = w.pbx.registered.len();
        w.with(0, |ua, now| ua.register(now));
        w.run(10 * SECOND);
        assert_eq!(w.people[0].ua.registration.standing, Standing::Refused(401));
        let more = w.pbx.registered[before..]
            .iter()
            .filter(|r| r.0 == "1001")
            .count();
        assert_eq!(more, 0, "call control never saw it");
        assert!(w.core(0).reported(Kind::SignInRefused) > 0);
        w.quiet();
    });
}

#[test]
fn a_user_who_never_signed_in_cannot_register() {
    under_seeds(3, plan, |w: &mut World| {
        assert!(w.run_until(30 * SECOND, World::all_linked));
        w.run(2 * SECOND);
        w.people[0].ua.registration.wanted = true;
        w.connect(0);
        w.run(10 * SECOND);
        assert_eq!(w.people[0].ua.registration.standing, Standing::Refused(401));
        assert!(!w.pbx.numbers().contains(&"1001"));
        w.quiet();
    });
}

#[test]
fn a_dead_inside_is_502_or_503_and_never_a_wrong_password() {
    under_seeds(4, plan, |w: &mut World| {
        w.ready();
        w.web.down = true;
        w.kill_pbx();
        w.run(SECOND);
        let late = w.sign_in(2, Some("something new"));
        w.with(0, |ua, now| ua.register(now));
        w.run(35 * SECOND);
        let status = w.sign_ins[late].reply.as_ref().map(|r| r.status);
        assert!(matches!(status, Some(502 | 503)), "{status:?}");
        let standing = w.people[0].ua.registration.standing.clone();
        assert!(
            matches!(standing, Standing::Refused(500..=599) | Standing::Trying),
            "{standing:?}"
        );
        assert!(w.core(0).reported(Kind::CallControlDown) > 0);
        w.web.down = false;
        w.start_pbx();
        assert!(
            w.run_until(90 * SECOND, |w| w.registered(0)),
            "registered again by itself"
        );
        w.quiet();
    });
}

#[test]
fn a_registration_whose_link_dies_under_way_leaves_nothing() {
    under_seeds(12, plan, |w: &mut World| {
        w.ready();
        // The core has heard, call control has not answered yet, or the answer is on its way.
        for _ in 0..4 {
            w.with(0, |ua, now| ua.register(now));
            let slow = if w.plan.weather[0].jitter > 10_000 {
                700_000
            } else {
                40_000
            };
            let wait = 8_000 + w.random(slow);
            w.run(wait);
            w.block(0, 0, false);
            w.run(2 * SECOND);
            w.unblock(0, 0);
            assert!(w.run_until(60 * SECOND, World::all_linked));
            w.with(0, |ua, now| ua.register(now));
            assert!(w.run_until(60 * SECOND, |w| w.registered(0)));
        }
        w.quiet();
    });
}

#[test]
fn a_client_that_lost_its_connection_is_back_under_its_own_number() {
    under_seeds(4, plan, |w: &mut World| {
        w.ready();
        for _ in 0..3 {
            w.disconnect(0);
            assert!(!w.registered(0));
            assert!(w.run_until(30 * SECOND, |w| w.registered(0)));
            let wait = w.random(5 * SECOND);
            w.run(wait);
        }
        let phone = w.who("phone1");
        w.with(phone, |ua, now| ua.call(now, "1001"));
        assert!(w.run_until(20 * SECOND, |w| w.in_call(0, phone)));
        w.quiet();
    });
}
