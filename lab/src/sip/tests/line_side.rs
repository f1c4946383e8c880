//! The manners of the line side beyond calls, and its mistakes.

use super::*;
use crate::sip::unified_cm::Registration;

async fn registered(at: &UnifiedCm, extension: &str, device: &str, hz: f64) -> Agent {
    let agent = agent(at, extension, Some(device), hz, None);
    agent.register().await.unwrap();
    agent
}

fn row(at: &UnifiedCm, device: &str) -> Registration {
    let rows = at.registrations();
    let found = rows
        .into_iter()
        .find(|row| row.device.as_deref() == Some(device));
    found.unwrap()
}

/// Waits until the agent has heard so many notices.
async fn heard(agent: &Agent, count: usize) -> Vec<String> {
    let told = async {
        while agent.notices().len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap();
    let notices = agent.notices();
    notices
        .iter()
        .map(|n| format!("{} {}", n.method, n.event))
        .collect()
}

#[tokio::test]
async fn new_device_is_told_of_messages_and_lines_once_and_may_raise_an_alarm() {
    let at = unified_cm(false, None).await;
    let alice = agent(&at, "1001", Some("CSFALICE"), ALICE_HZ, None);
    assert_eq!(alice.alarm().await.unwrap(), 202);
    alice.register().await.unwrap();
    assert_eq!(heard(&alice, 2).await, ["NOTIFY message-summary", "REFER "]);
    alice.register().await.unwrap();
    at.message_waiting(&row(&at, "CSFALICE"), true)
        .await
        .unwrap();
    let notices = alice.notices();
    assert_eq!(notices.len(), 3);
    assert!(notices[1].body.contains("<bulkupdate>"));
    assert!(notices[2].body.contains("Messages-Waiting: yes"));
    let statuses: Vec<_> = at
        .told()
        .iter()
        .map(|told| (told.what, told.status))
        .collect();
    let mwi = ("message-summary", Some(200));
    assert_eq!(statuses, [mwi, ("bulkupdate", Some(202)), mwi]);
}

#[tokio::test]
async fn device_restarts_only_if_its_own_register_is_named() {
    let at = unified_cm(false, None).await;
    let alice = registered(&at, "1001", "CSFALICE", ALICE_HZ).await;
    let mut row = row(&at, "CSFALICE");
    at.service_control(&row, "restart").await.unwrap();
    let notices = alice.notices();
    assert!(notices.iter().any(|n| n.body.starts_with("action=restart")));
    row.call_id = "another".into();
    let fault = at.service_control(&row, "restart").await.unwrap_err();
    assert!(fault.to_string().contains("481"), "{fault}");
}

#[tokio::test]
async fn shared_line_rings_everywhere_and_the_first_answer_wins() {
    let at = unified_cm(false, None).await;
    let phone = inside_phone(&at).await;
    let mobile = registered(&at, "1002", "CSFBOB", BOB_HZ).await;
    let desk = registered(&at, "1002", "SEPBOB", BOB_HZ).await;
    assert_eq!(at.registrations().len(), 3);
    let call = phone.call("1002").await.unwrap();
    assert!(call.listen(BOB_HZ, PATIENCE).await.unwrap().is_clear());
    // Whoever answered second was told that it was too late.
    let lonely = async {
        while mobile.calls().len() + desk.calls().len() != 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, lonely).await.unwrap();
    call.hang_up().await.unwrap();
    for agent in [&mobile, &desk] {
        for call in agent.calls() {
            call.ended(PATIENCE).await.unwrap();
        }
    }
}

#[tokio::test]
async fn number_is_dialled_digit_by_digit() {
    let at = unified_cm(false, None).await;
    let phone = inside_phone(&at).await;
    let alice = registered(&at, "1001", "CSFALICE", ALICE_HZ).await;
    let call = alice.call_overlapped("11", "00").await.unwrap();
    let other = phone.next_call(PATIENCE).await.unwrap();
    let (mine, theirs) = tokio::join!(
        call.listen(phone::HZ, PATIENCE),
        other.listen(ALICE_HZ, PATIENCE)
    );
    assert!(mine.unwrap().is_clear() && theirs.unwrap().is_clear());
    call.hang_up().await.unwrap();
    other.ended(PATIENCE).await.unwrap();
    assert!(alice.call_overlapped("47", "11").await.is_err());
}

#[tokio::test]
async fn device_that_registers_with_another_instance_has_the_line_alone() {
    let at = unified_cm(false, None).await;
    let first = registered(&at, "1001", "CSFALICE", ALICE_HZ).await;
    let second = registered(&at, "1001", "CSFALICE", ALICE_HZ).await;
    assert_eq!(at.registrations().len(), 1);
    drop((first, second));
}

#[tokio::test]
async fn trunk_on_the_line_port_lets_nobody_register() {
    let manners = Manners {
        trunk_on_line_port: true,
        ..Manners::default()
    };
    let at = with_manners(false, None, manners).await;
    let alice = agent(&at, "1001", Some("CSFALICE"), ALICE_HZ, None);
    assert!(
        alice
            .register()
            .await
            .unwrap_err()
            .to_string()
            .contains("405")
    );
}

#[tokio::test]
async fn mixed_mode_turns_away_whose_certificate_shows_no_security_profile() {
    let tls = certificates();
    let manners = Manners {
        security_profiles: vec!["csf-encrypted.example.test".into()],
        ..Manners::default()
    };
    let at = with_manners(false, Some(&tls), manners).await;
    let alice = agent(&at, "1001", Some("CSFALICE"), ALICE_HZ, Some(&tls));
    assert!(alice.register().await.is_err());
    assert_eq!(at.turned_away(), 1);
}

#[tokio::test]
async fn region_limit_stands_in_what_the_other_side_is_offered() {
    let manners = Manners {
        region_kbps: Some(384),
        throttle_bytes_per_s: Some(750_000),
        ..Manners::default()
    };
    let at = with_manners(false, None, manners).await;
    let phone = inside_phone(&at).await;
    let alice = registered(&at, "1001", "CSFALICE", ALICE_HZ).await;
    let call = alice.call("1100").await.unwrap();
    assert!(phone.next_call(PATIENCE).await.is_ok());
    assert!(call.listen(phone::HZ, PATIENCE).await.unwrap().is_clear());
    call.hang_up().await.unwrap();
}
