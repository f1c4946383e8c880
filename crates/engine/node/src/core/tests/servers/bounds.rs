//! What a server says that has much to say, or says something else each time.

use super::*;

fn refresh(world: &mut World) -> ServersReport {
    let name = String::new();
    report(world, ServersQuestion::Refresh { name })
}

#[test]
fn many_secure_profiles_that_the_certificate_lacks_are_one_event_and_seldom_told_anew() {
    let profiles = |of: &str| {
        (0..300)
            .map(|n| format!("{of}{n:03}.example.test"))
            .collect()
    };
    two_nodes();
    set(|c| {
        c.mixed = true;
        c.profiles = profiles("a");
    });
    let text = format!("{HEAD}{UNIFIED_CM}");
    let mut world = World::of(&text, inside);
    world.core.settings.certificate_names = vec!["core1.example.test".into()];
    let row = refresh(&mut world).servers.remove(0);
    assert!(row.checks.len() >= 300, "each is shown");
    let told = |world: &World| {
        let of = world.events.iter();
        let of = of.filter(|e| e.kind == Kind::ProfileNotNamed);
        of.map(ToString::to_string).collect::<Vec<_>>()
    };
    let first = told(&world);
    assert_eq!(first.len(), 1);
    assert!(
        first[0].contains("a009.example.test, and 290 more"),
        "{}",
        first[0]
    );
    let before = history(&mut world).len();
    for n in 0..5 {
        set(|c| c.profiles = profiles(["b", "a"][n % 2]));
        minute(&mut world);
    }
    assert_eq!(told(&world).len(), 1, "not each minute");
    assert_eq!(
        history(&mut world).len(),
        before + 10,
        "two changes a reading"
    );
    world.wait(Duration::from_secs(1_200));
    assert_eq!(told(&world).len(), 2, "what stands is told in the end");
}

#[test]
fn a_setting_that_is_not_told_for_one_reading_is_not_told_anew_after_it() {
    two_nodes();
    set(|c| c.slow_region = true);
    let mut world = World::new(UNIFIED_CM, inside);
    let amiss = causes(&world, Kind::SettingAmiss);
    assert_eq!(amiss.len(), 2, "{amiss:?}");
    set(|c| {
        c.status = Some((500, "<e><faultstring>busy</faultstring></e>"));
        c.only = Some("regionmatrix");
    });
    let row = refresh(&mut world).servers.remove(0);
    let stands = |c: &&::status::servers::ServerCheck| c.what == "video rate of regions";
    assert_eq!(row.checks.iter().filter(stands).count(), 1);
    set(|c| c.status = None);
    world.wait(Duration::from_secs(1_300));
    assert_eq!(causes(&world, Kind::SettingAmiss), amiss);
}

#[test]
fn a_publisher_that_throttles_or_knows_no_fingerprint_for_once_is_not_asked_for_everything() {
    let fault = "<e><faultstring>busy</faultstring></e>";
    for (status, state) in [
        ((503, ""), ServerState::Failed),
        ((403, ""), ServerState::Failed),
        ((200, "<!DOCTYPE html><html></html>"), ServerState::Failed),
        ((500, fault), ServerState::Active),
    ] {
        two_nodes();
        let mut world = World::new(UNIFIED_CM, inside);
        set(|c| {
            c.status = Some(status);
            c.only = Some("' union");
            c.asked.clear();
        });
        minute(&mut world);
        let asked = CLUSTER.with_borrow(|c| c.asked.clone());
        assert!(
            !asked.is_empty() && asked.len() <= 3,
            "{status:?}: {asked:?}"
        );
        assert!(!asked.contains(&"listProcessNode"), "{status:?}: {asked:?}");
        assert_eq!(show(&mut world).servers[0].state, state, "{status:?}");
    }
}

#[test]
fn what_outlives_a_restart_says_when_it_was_confirmed_within_the_last_hours() {
    two_nodes();
    let mut world = World::new(UNIFIED_CM, inside);
    let first = world.record.servers[0].read_at;
    for _ in 0..4 {
        world.wait(Duration::from_secs(1_800));
    }
    let hour = 3_600_000;
    let kept = world.record.servers[0].read_at.as_millis();
    assert!(
        kept >= first.as_millis() + hour,
        "not that of the first reading"
    );
    set(|c| c.down = true);
    world.restart(UNIFIED_CM, Duration::from_secs(60));
    let report = show(&mut world);
    let read = report.servers[0].read_at.unwrap().as_millis();
    assert!(report.at.as_millis() - read <= hour + 900_000);
}
