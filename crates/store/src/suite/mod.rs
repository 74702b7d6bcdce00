//! Tests that every storage passes.

pub(crate) mod access;
pub(crate) mod acts;
pub(crate) mod breach;
pub(crate) mod group;
pub(crate) mod restore;
pub(crate) mod tokens;
pub(crate) mod usage;

use edgepass_issuer::audit::{Act, AuditEntry};
use edgepass_issuer::new_act::NewAct;
use edgepass_issuer::restore::RestoreStore;
use edgepass_issuer::rewrap::RewrapStore;
use edgepass_issuer::selection::{Filter, Selection, StatusChange};
use edgepass_issuer::status_index::ExpiryWindow;
use edgepass_issuer::storage::{NewList, NewToken, Recorded, StatusSlot, Store};
use edgepass_issuer::token_facts::TokenFacts;
use edgepass_status_list::{Bits, StatusType};
use edgepass_verify::UnixMillis;

/// A fresh database, which is removed with the value.
pub(crate) trait Database: Sized {
    type Store: Store + RestoreStore + RewrapStore;

    /// Makes a database.
    async fn make() -> Self;

    /// Opens it, as one process.
    async fn open(&self) -> Self::Store;

    async fn close(store: &Self::Store);

    /// Runs a statement.
    async fn execute(&self, text: &str) -> Result<(), sqlx::Error>;

    /// The number that a query selects.
    async fn number(&self, text: &str) -> i64;
}

pub(crate) struct TestStore<D: Database> {
    pub(crate) store: D::Store,
    pub(crate) database: D,
}

pub(crate) async fn test_store<D: Database>() -> TestStore<D> {
    let database = D::make().await;
    TestStore { store: database.open().await, database }
}

pub(crate) fn now() -> UnixMillis {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap())
}

pub(crate) fn token(jwt_id: &str) -> NewToken {
    let facts = TokenFacts {
        jwt_id: jwt_id.into(),
        role: "reader".into(),
        client_id: "c".into(),
        subject: "c".into(),
        audience: "a".into(),
        scope: "a:read".into(),
        key_id: "k".into(),
        created_by: "cli:test".into(),
        policy: None,
        agreement: None,
        grant: None,
        parent: None,
        confirmation: None,
        issued_at: 100,
        expiration: 700,
    };
    let window = ExpiryWindow::of(700, 3600);
    NewToken {
        facts,
        list: NewList { window, capacity: 1 << 17, bits: Bits::Two, secret: [7; 32] },
        actor: None,
        once: Vec::new(),
        replaces: None,
    }
}

pub(crate) fn of_role(role: &str, jwt_id: &str) -> NewToken {
    let mut token = token(jwt_id);
    token.facts.role = role.into();
    token
}

pub(crate) async fn issue(store: &impl Store, token: &NewToken) -> StatusSlot {
    let jwt_id = &token.facts.jwt_id;
    match store.record_issue(token, &entry(jwt_id)).await.unwrap() {
        Recorded::At(slot) => slot,
        other => panic!("{jwt_id}: {other:?}"),
    }
}

pub(crate) fn act(change: StatusChange, selection: Selection) -> NewAct {
    let (reason, actor) = ("why".into(), "cli:test".into());
    NewAct { change, selection, reason, actor, policy: 1, report: None, at: UnixMillis(200_000) }
}

pub(crate) fn named(jwt_id: &str) -> Selection {
    Selection::JwtIds(vec![jwt_id.into()])
}

pub(crate) fn role(role: &str) -> Selection {
    Selection::Fitting(Filter { role: Some(role.into()), ..Filter::default() })
}

pub(crate) async fn status(store: &impl Store, jwt_id: &str) -> StatusType {
    store.token(jwt_id).await.unwrap().unwrap().status
}

pub(crate) fn entry(jwt_id: &str) -> AuditEntry {
    let act = Act::TokenRevoked { jwt_id: jwt_id.into(), reason: "test".into(), report: None };
    AuditEntry { at_ms: 1, actor: "cli:test".into(), policy: None, act }
}

/// A token that is exchanged for the token `parent`.
pub(crate) fn child(parent: &str, jwt_id: &str) -> NewToken {
    let mut token = of_role("exchanged", jwt_id);
    token.facts.parent = Some(parent.into());
    token
}

/// Runs each test of the suite on a kind of database.
macro_rules! on {
    ($database:ty) => {
        crate::suite::each! {
            $database,
            tokens: a_token_is_exchanged_only_while_it_is_valid_and_for_no_longer_time,
            tokens: an_identifier_is_used_once_and_a_refused_token_uses_none,
            tokens: no_index_is_given_twice_and_every_act_has_its_entry,
            tokens: a_refused_record_leaves_no_trace,
            tokens: a_full_list_is_followed_by_another,
            tokens: the_audit_trail_cannot_be_changed,
            tokens: the_version_moves_with_another_process_commit,
            tokens: records_go_after_their_tokens_have_expired_and_the_audit_trail_stays,
            tokens: an_agreement_is_used_until_its_tokens_are_revoked_or_expired,
            access: a_token_is_issued_only_while_access_stands,
            access: the_glass_is_broken_once_until_somebody_has_looked,
            access: no_token_is_issued_without_access_however_many_decide_at_once,
            access: a_restored_backup_grants_nothing,
            access: who_asked_and_who_decided_is_erased_once_it_is_over,
            access: a_request_is_forgotten_once_it_has_nothing_left_to_do,
            access: what_was_done_is_reviewed_although_the_rule_is_gone,
            access: a_notice_goes_once_it_is_taken,
            breach: of_two_changes_of_an_incident_one_is_recorded,
            breach: an_incident_is_about_its_tokens_and_those_exchanged_for_them,
            breach: use_before_and_after_a_leak_is_told_apart,
            breach: a_resumed_token_works_and_a_late_act_ends_nothing,
            breach: a_report_leaves_open_what_only_people_know,
            acts: a_token_goes_the_way_of_those_that_it_was_exchanged_from,
            acts: a_revocation_is_one_change_however_often_it_is_repeated,
            acts: an_act_changes_the_selected_live_tokens_and_no_others,
            acts: a_suspended_token_can_be_resumed_and_a_revoked_one_cannot,
            acts: lists_of_one_bit_hold_no_suspension,
            acts: no_token_like_the_selected_is_issued_before_the_act_ends,
            acts: a_token_within_the_leeway_of_verifiers_can_be_revoked,
            acts: an_act_is_planned_again_when_another_is_not_carried_out_yet,
            acts: a_token_in_a_list_of_one_bit_is_not_suspended_by_an_act_planned_before,
            acts: an_act_that_was_interrupted_is_finished_by_whoever_looks_next,
            acts: lists_are_due_when_an_act_is_finished,
            acts: every_token_issued_before_the_act_returned_is_covered,
            acts: who_did_what_to_whom_is_erased_once_the_act_is_finished,
            acts: another_act_in_between_makes_a_plan_worthless,
            group: tokens_recorded_together_have_indices_of_their_own,
            group: what_refuses_one_token_does_not_touch_the_others,
            group: a_restart_and_another_process_take_no_index_twice,
            group: a_value_that_the_database_refuses_is_refused_alone,
            group: a_token_is_not_recorded_once_its_request_has_gone,
            restore: after_a_restore_no_index_of_an_old_list_is_used,
            restore: what_was_published_since_the_backup_is_in_every_later_edition,
            restore: a_list_with_other_bits_is_not_adopted,
            restore: keys_are_sealed_again_all_or_none,
            usage: a_report_counts_once_and_only_for_tokens_of_its_reporter,
            usage: what_is_missing_is_known,
            usage: uses_go_with_their_records_and_sums_with_their_days,
            usage: what_reports_can_fill_is_limited,
            usage: no_reports_make_more_acts_than_the_brakes_allow,
        }
    };
}

macro_rules! each {
    ($database:ty, $($module:ident: $name:ident,)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                crate::suite::$module::$name::<$database>().await;
            }
        )*
    };
}

pub(crate) use {each, on};
