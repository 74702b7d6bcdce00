//! Access on request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use edgepass_issuer::IssuerPolicy;
use edgepass_issuer::access::{
    AccessChange, AccessError, AccessRequest, ApprovalRule, Ask, Party, State,
};
use edgepass_issuer::audit::Act;
use edgepass_issuer::policy::version::{LivePolicy, PolicyUser};
use edgepass_issuer::policy::{Role, SenderConstraint};
use edgepass_issuer::selection::{Filter, Selection, StatusChange};
use edgepass_issuer::status_act::perform;
use edgepass_issuer::storage::{
    AccessFilter, AccessStore, Added, AuditStore, Channel, NewNotice, NewToken, Page, Recorded,
    Store, TokenStore,
};
use edgepass_jose::Scope;
use edgepass_status_list::StatusType;
use edgepass_verify::UnixMillis;

use super::{Database, act, entry, test_store, token};

const NOW: UnixMillis = UnixMillis(1_000_000);

/// A policy whose role `reader` needs two approvals.
async fn policy(store: &impl Store) -> LivePolicy {
    let role = Role {
        name: "reader".into(),
        audiences: vec!["a".into()],
        scope: Scope::parse("a:read").unwrap(),
        lifetime: 60,
        max_lifetime: 60,
        agreement: None,
        sender: SenderConstraint::None,
        networks: Vec::new(),
        owner: None,
        description: None,
    };
    let rule = ApprovalRule {
        name: "two".into(),
        roles: vec!["reader".into()],
        may_ask: vec!["role:on-call".into()],
        may_approve: vec!["role:lead".into()],
        may_break_glass: vec!["role:on-call".into()],
        approvals: 2,
        denials: 2,
        reason: None,
        ticket: None,
        longest: 3600,
        start_within: 0,
        tell: Vec::new(),
    };
    let policy =
        IssuerPolicy { roles: vec![role], approvals: vec![rule], ..IssuerPolicy::default() };
    let user = PolicyUser { actor: "serve".into(), at: NOW, serves: true };
    LivePolicy::record(Arc::new(policy), store, &user).await.unwrap()
}

fn party(name: &str, role: &str) -> Party {
    Party { name: format!("subject:{name}"), role: Some(role.into()) }
}

fn asked(id: &str, by: &str, policy: &LivePolicy, break_glass: bool) -> AccessRequest {
    let ask = Ask {
        role: "reader".into(),
        seconds: 600,
        reason: "to look".into(),
        break_glass,
        confirm: break_glass.then(|| "reader".into()),
        ..Ask::default()
    };
    AccessRequest::ask(id.into(), ask, &party(by, "on-call"), policy, NOW).unwrap()
}

/// `None`: it is recorded. Otherwise what is in its way.
async fn add(store: &impl Store, request: &AccessRequest, policy: &LivePolicy) -> Option<String> {
    let entry = request.entry(AccessChange::Asked, &request.asked_by, policy, NOW);
    match store.add_access(request, &entry, &[]).await.unwrap() {
        Added::Recorded => None,
        Added::InTheWay(other) => Some(other),
        Added::TooMany => Some("too many".to_owned()),
    }
}

/// Records a decision, an end or a review, as often as it takes. `None`: it was refused.
async fn change(
    store: &impl Store,
    id: &str,
    policy: &LivePolicy,
    what: AccessChange,
    change: impl Fn(&mut AccessRequest) -> Result<(), AccessError> + Send + Sync,
) -> Option<State> {
    loop {
        let mut request = store.access(id).await.unwrap().unwrap();
        let seen = request.version;
        change(&mut request).ok()?;
        let entry = request.entry(what, "subject:somebody", policy, NOW);
        if store.change_access(seen, &request, &entry, &[]).await.unwrap() {
            return Some(request.recorded);
        }
    }
}

async fn decide(
    store: &impl Store,
    id: &str,
    by: &str,
    approves: bool,
    policy: &LivePolicy,
) -> Option<State> {
    let what = if approves { AccessChange::Approved } else { AccessChange::Denied };
    change(store, id, policy, what, |request| {
        let digest = request.digest(policy);
        request.decide((approves, &digest), None, &party(by, "lead"), policy, NOW)
    })
    .await
}

fn granted(jwt_id: &str, grant: &str, issued_at: u64, expiration: u64) -> NewToken {
    let mut token = token(jwt_id);
    token.facts.grant = Some(grant.into());
    (token.facts.issued_at, token.facts.expiration) = (issued_at, expiration);
    token
}

async fn issue(store: &impl Store, token: &NewToken) -> Recorded {
    store.record_issue(token, &entry(&token.facts.jwt_id)).await.unwrap()
}

pub(crate) async fn a_token_is_issued_only_while_access_stands<D: Database>() {
    let it = test_store::<D>().await;
    let store = &it.store;
    let policy = policy(store).await;
    assert_eq!(add(store, &asked("ar_1", "ada", &policy, false), &policy).await, None);
    let again = add(store, &asked("ar_2", "ada", &policy, false), &policy).await;
    assert_eq!(again.as_deref(), Some("ar_1"), "one waits already");
    assert_eq!(issue(store, &granted("t1", "ar_1", 1000, 1060)).await, Recorded::NoAccess);
    assert_eq!(decide(store, "ar_1", "ada", true, &policy).await, None, "no self-approval");
    assert_eq!(decide(store, "ar_1", "bo", true, &policy).await, Some(State::Pending));
    assert_eq!(decide(store, "ar_1", "bo", true, &policy).await, None, "twice");
    assert_eq!(issue(store, &granted("t1", "ar_1", 1000, 1060)).await, Recorded::NoAccess);
    assert_eq!(decide(store, "ar_1", "cy", true, &policy).await, Some(State::Approved));
    for (token, name) in [
        (granted("t2", "ar_1", 999, 1060), "it has not begun"),
        (granted("t2", "ar_1", 1000, 1601), "it ends before the token"),
        (granted("t2", "ar_9", 1000, 1060), "there is no such request"),
    ] {
        assert_eq!(issue(store, &token).await, Recorded::NoAccess, "{name}");
    }
    let mut other = granted("t2", "ar_1", 1000, 1060);
    other.facts.role = "writer".into();
    assert_eq!(issue(store, &other).await, Recorded::NoAccess, "it is of another role");
    assert!(matches!(issue(store, &granted("t3", "ar_1", 1000, 1600)).await, Recorded::At(_)));
    let ended = change(store, "ar_1", &policy, AccessChange::Ended, |request| {
        request.end(&party("cy", "lead"), &policy, NOW)
    });
    assert_eq!(ended.await, Some(State::Ended));
    assert_eq!(issue(store, &granted("t4", "ar_1", 1000, 1060)).await, Recorded::NoAccess);
    let unsettled = store.unsettled_access().await.unwrap();
    assert_eq!(unsettled.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["ar_1"]);
    let filter = Filter { grant: Some("ar_1".into()), ..Filter::default() };
    let revoke = act(StatusChange::Revoke, Selection::Fitting(filter));
    assert_eq!(perform(store, &revoke).await.unwrap().unwrap().count, 1);
    store.settle_access("ar_1").await.unwrap();
    assert!(store.unsettled_access().await.unwrap().is_empty());
    let record = store.token("t3").await.unwrap().unwrap();
    assert_eq!(record.status, StatusType::Invalid);
    assert_eq!(record.facts.grant.as_deref(), Some("ar_1"));
    let filter = AccessFilter { recorded: Some(State::Ended), ..AccessFilter::default() };
    let found = store.accesses(&filter, Page::first(true, 10)).await.unwrap();
    assert_eq!(found.len(), 1);
}

pub(crate) async fn the_glass_is_broken_once_until_somebody_has_looked<D: Database>() {
    let it = test_store::<D>().await;
    let store = &it.store;
    let policy = policy(store).await;
    assert_eq!(add(store, &asked("ar_1", "ada", &policy, true), &policy).await, None);
    assert!(matches!(issue(store, &granted("t1", "ar_1", 1000, 1060)).await, Recorded::At(_)));
    let next = add(store, &asked("ar_2", "bo", &policy, true), &policy).await;
    assert_eq!(next.as_deref(), Some("ar_1"));
    let review = async |by: &str| {
        change(store, "ar_1", &policy, AccessChange::Reviewed, |request| {
            request.review(None, &party(by, "lead"), &policy, NOW)
        })
        .await
    };
    assert_eq!(review("ada").await, None, "their own");
    assert_eq!(review("cy").await, Some(State::Approved));
    assert_eq!(add(store, &asked("ar_2", "bo", &policy, true), &policy).await, None);
    let filter = AccessFilter { unreviewed: true, ..AccessFilter::default() };
    let found = store.accesses(&filter, Page::first(true, 10)).await.unwrap();
    assert_eq!(found.iter().map(|(_, one)| one.id.as_str()).collect::<Vec<_>>(), ["ar_2"]);
}

pub(crate) async fn a_restored_backup_grants_nothing<D: Database>() {
    let it = test_store::<D>().await;
    let store = &it.store;
    let policy = policy(store).await;
    add(store, &asked("ar_1", "ada", &policy, true), &policy).await;
    add(store, &asked("ar_2", "bo", &policy, false), &policy).await;
    super::restore::restore(store, 1, Vec::new()).await;
    assert_eq!(issue(store, &granted("t1", "ar_1", 1000, 1060)).await, Recorded::NoAccess);
    assert_eq!(decide(store, "ar_2", "cy", true, &policy).await, None);
    assert_eq!(store.access("ar_2").await.unwrap().unwrap().recorded, State::Cancelled);
}

/// A thousand decisions, ends and tokens at once. Afterwards the audit trail, which has the order in which they
/// were recorded, has no token of a request that was not granted before it, or that had ended.
pub(crate) async fn no_token_is_issued_without_access_however_many_decide_at_once<D: Database>() {
    const REQUESTS: usize = 20;
    let it = test_store::<D>().await;
    let store = Arc::new(it.store);
    let policy = policy(&*store).await;
    for at in 0..REQUESTS {
        let request = asked(&format!("ar_{at}"), &format!("asker-{at}"), &policy, false);
        assert_eq!(add(&*store, &request, &policy).await, None);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for at in 0..1_000_usize {
        let (store, policy) = (Arc::clone(&store), policy.clone());
        // Each request meets each kind of task.
        let (id, kind, by) = (format!("ar_{}", at % REQUESTS), (at / REQUESTS) % 5, at / 100);
        tasks.spawn(async move {
            match kind {
                0 => {
                    let _ = decide(&*store, &id, &format!("lead-{by}"), true, &policy).await;
                }
                1 if at % 3 == 0 => {
                    let _ = decide(&*store, &id, &format!("lead-{by}"), false, &policy).await;
                }
                2 if at % 7 == 0 => {
                    let end = change(&*store, &id, &policy, AccessChange::Ended, |request| {
                        request.end(&party("lead-0", "lead"), &policy, NOW)
                    });
                    let _ = end.await;
                }
                _ => {
                    let token = granted(&format!("t{at}"), &id, 1000, 1060);
                    let facts = &token.facts;
                    let mut entry = entry(&facts.jwt_id);
                    entry.act = Act::TokenIssued {
                        jwt_id: facts.jwt_id.clone(),
                        role: facts.role.clone(),
                        client_id: facts.client_id.clone(),
                        subject: facts.subject.clone(),
                        audience: facts.audience.clone(),
                        scope: facts.scope.clone(),
                        expiration: facts.expiration,
                        agreement: None,
                        grant: facts.grant.clone(),
                        parent: None,
                    };
                    // Until it is granted, or for a while.
                    for _ in 0..20 {
                        if let Recorded::At(_) = store.record_issue(&token, &entry).await.unwrap() {
                            break;
                        }
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let (mut standing, mut issued, mut changes) = (HashMap::new(), 0, 0);
    let page = Page::first(false, 10_000);
    for (_, entry) in store.audit(0, page).await.unwrap() {
        match entry.act {
            Act::AccessChanged { request, state, .. } => {
                changes += 1;
                standing.insert(request, state);
            }
            Act::TokenIssued { grant: Some(grant), jwt_id, .. } => {
                issued += 1;
                assert_eq!(standing.get(&grant), Some(&State::Approved), "{jwt_id} of {grant}");
            }
            _ => {}
        }
    }
    assert!(changes > 30 && issued > 0, "{changes} changes, {issued} tokens");
    // And as the database says.
    let wrong = "SELECT count(*) FROM tokens t WHERE grant_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM \
                 access_requests a WHERE a.id = t.grant_id AND a.begins <= t.issued_at \
                 AND a.ends >= t.expiration AND a.recorded IN ('approved', 'ended'))";
    assert_eq!(it.database.number(wrong).await, 0);
}

pub(crate) async fn who_asked_and_who_decided_is_erased_once_it_is_over<D: Database>() {
    let it = test_store::<D>().await;
    let store = &it.store;
    let policy = policy(store).await;
    add(store, &asked("ar_1", "ada", &policy, true), &policy).await;
    add(store, &asked("ar_2", "cy", &policy, false), &policy).await;
    assert_eq!(decide(store, "ar_2", "ada", false, &policy).await, Some(State::Pending));
    assert_eq!(decide(store, "ar_2", "bo", false, &policy).await, Some(State::Denied));
    let mut own = token("t1");
    own.facts.subject = "ada".into();
    issue(store, &own).await;
    let mut live = token("t2");
    (live.facts.subject, live.facts.expiration) = ("ada".into(), 5_000);
    issue(store, &live).await;
    issue(store, &token("t3")).await;
    // One is open, and in the other only the decision is hers.
    assert_eq!(store.erase_access("ada", NOW).await.unwrap(), 1);
    assert_eq!(store.access("ar_1").await.unwrap().unwrap().asked_by, "subject:ada");
    let later = UnixMillis(NOW.0 + 600_000);
    assert_eq!(store.erase_access("ada", later).await.unwrap(), 0, "nobody has looked at it");
    let reviewed = change(store, "ar_1", &policy, AccessChange::Reviewed, |request| {
        request.review(None, &party("bo", "lead"), &policy, NOW)
    });
    assert!(reviewed.await.is_some());
    assert_eq!(store.erase_access("ada", later).await.unwrap(), 1);
    assert_eq!(store.erase_access("ada", later).await.unwrap(), 0, "nothing is left");
    let text = "SELECT count(*) FROM access_requests WHERE document LIKE '%ada%' OR subject = 'ada' \
                OR asked_by LIKE '%ada%' OR document LIKE '%to look%'";
    assert_eq!(it.database.number(text).await, 1, "the reason of somebody else");
    let kept = store.access("ar_2").await.unwrap().unwrap();
    assert_eq!((kept.asked_by.as_str(), kept.decisions[0].by.as_str()), ("subject:cy", "erased"));
    assert_eq!(store.erase_tokens("ada", 1_000).await.unwrap(), 1);
    assert_eq!(store.erase_tokens("ada", 1_000).await.unwrap(), 0);
    assert!(store.token("t1").await.unwrap().is_none());
    assert!(
        store.token("t2").await.unwrap().is_some() && store.token("t3").await.unwrap().is_some()
    );
}

pub(crate) async fn a_request_is_forgotten_once_it_has_nothing_left_to_do<D: Database>() {
    let it = test_store::<D>().await;
    let store = &it.store;
    let policy = policy(store).await;
    add(store, &asked("ar_1", "ada", &policy, true), &policy).await;
    add(store, &asked("ar_2", "bo", &policy, false), &policy).await;
    let end = NOW.numeric_date().seconds() + 3_600 + 1;
    assert_eq!(store.forget_access(end - 2, 10).await.unwrap(), 0, "one is pending");
    assert_eq!(store.forget_access(end, 10).await.unwrap(), 1);
    assert!(store.access("ar_2").await.unwrap().is_none());
    let reviewed = change(store, "ar_1", &policy, AccessChange::Reviewed, |request| {
        request.review(None, &party("cy", "lead"), &policy, NOW)
    });
    assert!(reviewed.await.is_some());
    assert_eq!(store.forget_access(end, 10).await.unwrap(), 1);
}

pub(crate) async fn what_was_done_is_reviewed_although_the_rule_is_gone<D: Database>() {
    let it = test_store::<D>().await;
    let store = &it.store;
    let policy = policy(store).await;
    add(store, &asked("ar_1", "ada", &policy, true), &policy).await;
    let user = PolicyUser { actor: "serve".into(), at: NOW, serves: true };
    let without = Arc::new(IssuerPolicy::default());
    let policy = LivePolicy::record(without, store, &user).await.unwrap();
    for (by, expected) in [("ada", None), ("cy", Some(State::Approved))] {
        let reviewed = change(store, "ar_1", &policy, AccessChange::Reviewed, |request| {
            request.review(None, &party(by, "lead"), &policy, NOW)
        });
        assert_eq!(reviewed.await, expected, "{by}");
    }
    assert!(!store.access("ar_1").await.unwrap().unwrap().is_unreviewed());
}

pub(crate) async fn a_notice_goes_once_it_is_taken<D: Database>() {
    let it = test_store::<D>().await;
    let store = &it.store;
    let policy = policy(store).await;
    let request = asked("ar_1", "ada", &policy, false);
    let entry = request.entry(AccessChange::Asked, "subject:ada", &policy, NOW);
    let notice = |channel| NewNotice { channel, at_ms: 7, is_urgent: false, document: "{}".into() };
    let notices = [notice(Channel::Webhook), notice(Channel::Mail)];
    store.add_access(&request, &entry, &notices).await.unwrap();
    let open = async |now| store.open_notices(Channel::Mail, now).await.unwrap();
    let [mail] = open(1).await.try_into().unwrap();
    store.set_notice_told(mail.id, Some(100)).await.unwrap();
    assert!(open(99).await.is_empty());
    assert_eq!(open(100).await[0].attempts, 1);
    store.set_notice_told(mail.id, None).await.unwrap();
    assert!(open(u64::MAX / 2).await.is_empty());
    assert_eq!(it.database.number("SELECT count(*) FROM notices").await, 1);
}
