//! Clients in networks of another kind, or in many at once: IPv6, another edge in mid-call, and a
//! few hundred of them that come all at once.

use sim::checks::under_seeds;
use sim::house::Control;
use sim::pipe::Weather;
use sim::ua::{Phase, SECOND};
use sim::world::{Plan, World};

fn plan(seed: u64) -> Plan {
    Plan {
        control: [Control::UnifiedCm, Control::Path, Control::Rewrite][(seed % 3) as usize],
        weather: if seed % 4 == 3 {
            [Weather::FOUL; 3]
        } else {
            [Weather::FAIR; 3]
        },
        v6: true,
        ..Plan::SMALL
    }
}

#[test]
fn clients_of_ipv6_register_and_speak_with_an_inside_of_ipv4() {
    under_seeds(6, plan, |w: &mut World| {
        w.ready();
        let (alice, bob, phone) = (w.who("alice"), w.who("bob"), w.who("phone1"));
        let echoed = w.people[alice].ua.registration.echoed.clone();
        assert!(echoed.contains("@[2001:db8:100::1]:5061"), "{echoed}");
        for (caller, called, number) in [
            (alice, phone, "1101"),
            (phone, alice, "1001"),
            (alice, bob, "1002"),
        ] {
            w.with(caller, |ua, now| ua.call(now, number));
            assert!(w.run_until(30 * SECOND, |w| w.in_call(caller, called)));
            w.run(3 * SECOND);
            let heard = |w: &World, who: usize| {
                let last = w.people[who].ua.calls.last();
                last.map_or(0, |c| c.media.heard)
            };
            assert!(heard(w, caller) > 10 && heard(w, called) > 10);
            w.with(called, |ua, now| ua.hang_up_all(now));
            w.run(10 * SECOND);
            let over = w.people[caller]
                .ua
                .calls
                .iter()
                .all(|c| c.phase == Phase::Over);
            assert!(over);
        }
        w.run(200 * SECOND);
        assert!(w.registered(alice) && w.registered(bob), "refreshed");
        w.quiet();
    });
}
