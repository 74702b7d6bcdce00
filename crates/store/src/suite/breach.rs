//! Incidents, and what is known of them.

use std::path::Path;
use std::sync::Arc;

use edgepass_issuer::audit::{Act, AuditEntry};
use edgepass_issuer::breach::facts::{Facts, collect};
use edgepass_issuer::breach::report::{FilledState, Report};
use edgepass_issuer::breach::uses::{Confidentiality, When};
use edgepass_issuer::breach::{Concerns, Incident, IncidentChange, Noting, Opening};
use edgepass_issuer::policy::version::{LivePolicy, PolicyUser};
use edgepass_issuer::selection::{Selection, StatusChange};
use edgepass_issuer::status_act::perform;
use edgepass_issuer::storage::{
    AuditStore, IncidentStore, NewToken, Page, Recorded, Store, TokenStore,
};
use edgepass_issuer::{Config, IssuerPolicy};
use edgepass_usage::ACCEPTED;
use edgepass_verify::UnixMillis;

use super::usage::{add, report_from};
use super::{Database, TestStore, act, child, named, of_role, role, test_store, token};

/// While the tokens of the suite are valid.
const NOW: UnixMillis = UnixMillis(650_000);
const LEAKED: u64 = 300_000;

fn config() -> Config {
    let text =
        "issuer = \"https://auth.example\"\nlisten = \"127.0.0.1:8787\"\ndata_dir = \"data\"\n";
    Config::parse(text, Path::new("/nowhere")).unwrap()
}

fn incident(concerns: Concerns) -> Incident {
    let mut opening = Opening {
        leaked_ms: Some(LEAKED),
        reason: "in a public log".to_owned(),
        ..Opening::default()
    };
    match concerns {
        Concerns::Tokens(ids) => opening.jwt_ids = ids,
        Concerns::Client(name) => opening.client_id = Some(name),
        Concerns::Role(name) => opening.role = Some(name),
    }
    Incident::open("in_1".to_owned(), opening, NOW).unwrap()
}

fn tokens(ids: &[&str]) -> Concerns {
    Concerns::Tokens(ids.iter().map(|id| (*id).to_owned()).collect())
}

/// Issues a token with the entry that an issuer writes.
async fn issue(store: &impl Store, token: &NewToken) {
    let facts = token.facts.clone();
    let act = Act::TokenIssued {
        jwt_id: facts.jwt_id,
        role: facts.role,
        client_id: facts.client_id,
        subject: facts.subject,
        audience: facts.audience,
        scope: facts.scope,
        expiration: facts.expiration,
        agreement: facts.agreement,
        grant: facts.grant,
        parent: facts.parent,
    };
    let (at_ms, actor) = (facts.issued_at * 1000, "cli:test".to_owned());
    let entry = AuditEntry { at_ms, actor, policy: Some(1), act };
    assert!(matches!(store.record_issue(token, &entry).await.unwrap(), Recorded::At(_)));
}

fn of_client(client: &str, jwt_id: &str) -> NewToken {
    let mut token = token(jwt_id);
    token.facts.client_id = client.to_owned();
    token
}

async fn facts(store: &impl Store, incident: &Incident) -> Facts {
    facts_at(store, incident, NOW).await
}

async fn facts_at(store: &impl Store, incident: &Incident, now: UnixMillis) -> Facts {
    collect(store, incident, (&config(), &IssuerPolicy::default()), now).await.unwrap()
}

async fn revoke(store: &impl Store, selection: Selection, at: u64) {
    let mut act = act(StatusChange::Revoke, selection);
    act.at = UnixMillis(at);
    perform(store, &act).await.unwrap().unwrap();
}

fn ids(facts: &Facts) -> Vec<&str> {
    facts.tokens.iter().map(|token| token.jwt_id.as_str()).collect()
}

fn acts(facts: &Facts) -> Vec<&str> {
    facts.acts.iter().map(|act| act.act.as_str()).collect()
}

pub(crate) async fn of_two_changes_of_an_incident_one_is_recorded<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
    let mut incident = incident(tokens(&["t"]));
    let entry = |incident: &Incident, change| incident.entry(change, "why", ("cli:ada", 1), NOW);
    let opened = entry(&incident, IncidentChange::Opened);
    store.add_incident(&incident, &opened).await.unwrap();
    assert!(store.add_incident(&incident, &opened).await.is_err(), "its name is taken");
    let noting = Noting { text: Some("a".to_owned()), ..Noting::default() };
    incident.note(noting, NOW).unwrap();
    let noted = entry(&incident, IncidentChange::Noted);
    assert!(store.change_incident(0, &incident, &noted).await.unwrap());
    assert!(!store.change_incident(0, &incident, &noted).await.unwrap());
    assert_eq!(store.incident("in_1").await.unwrap(), Some(incident.clone()));
    assert_eq!(store.incident("in_2").await.unwrap(), None);
    assert_eq!(store.incidents(Page::first(true, 9)).await.unwrap(), [(1, incident)]);
    let trail = store.audit(0, Page::first(false, 9)).await.unwrap();
    assert_eq!(trail.into_iter().map(|(_, entry)| entry).collect::<Vec<_>>(), [opened, noted]);
}

pub(crate) async fn an_incident_is_about_its_tokens_and_those_exchanged_for_them<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
    for token in [of_client("d", "other"), of_client("c", "t1"), of_client("d", "t2")] {
        issue(&store, &token).await;
    }
    issue(&store, &child("t1", "c1")).await;
    issue(&store, &child("c1", "c2")).await;
    issue(&store, &child("t2", "c3")).await;
    revoke(&store, named("other"), 310_000).await;
    revoke(&store, named("t1"), 320_000).await;
    let found = facts(&store, &incident(tokens(&["t1"]))).await;
    assert_eq!(ids(&found), ["t1", "c1", "c2"]);
    assert_eq!((found.count, found.all_looked_at), (3, true));
    assert_eq!(acts(&found), ["token_revoked"], "not that of another token");
    assert_eq!(found.stop.live, 0, "what was exchanged goes with it: {found:?}");
    // Of an exchanged one: what was done with the token that it was exchanged for is about it as well.
    let child = facts(&store, &incident(tokens(&["c2"]))).await;
    assert_eq!((ids(&child), acts(&child)), (vec!["c2"], vec!["token_revoked"]));
    assert_eq!((child.tokens[0].revoked_ms, child.stop.revoked), (Some(320_000), 1));
    let own = found.tokens.iter().find(|token| token.jwt_id == "t1").unwrap();
    assert_eq!((own.state.as_str(), own.revoked_ms), ("revoked", Some(320_000)));
    assert_eq!(own.stops_ms, 330_000, "the deadline of guards later");
    assert!(found.tokens.iter().all(|token| token.revoked_ms == Some(320_000)));
    // Of a client: all that were valid at the leak.
    let found = facts(&store, &incident(Concerns::Client("d".to_owned()))).await;
    assert_eq!(ids(&found), ["other", "t2", "c3"], "and what was exchanged for them");
    let mut late = incident(Concerns::Client("d".to_owned()));
    late.leaked_ms = Some(1_000_000);
    assert_eq!(facts(&store, &late).await.count, 0, "they had expired");
    // An act by a filter that selects them, and one that selects others.
    revoke(&store, role("exchanged"), 330_000).await;
    let found = facts(&store, &incident(tokens(&["t2"]))).await;
    assert_eq!(acts(&found), ["statuses_changed"]);
    assert_eq!(found.stop.live, 1);
    let child = found.tokens.iter().find(|token| token.jwt_id == "c3").unwrap();
    assert_eq!(child.revoked_ms, Some(330_000));
    // Of several named tokens the trail has the digest alone.
    let several = Selection::JwtIds(vec!["t2".to_owned(), "other".to_owned()]);
    revoke(&store, several, 340_000).await;
    let found = facts(&store, &incident(tokens(&["t2"]))).await;
    assert_eq!(found.tokens[0].revoked_ms, Some(340_000));
    let found = facts(&store, &incident(tokens(&["t1"]))).await;
    assert!(!acts(&found).is_empty());
    // What is left once the records are gone.
    store.forget_tokens(100_000, 1000).await.unwrap();
    let found = facts(&store, &incident(tokens(&["t1"]))).await;
    assert_eq!(ids(&found), ["t1", "c1", "c2"]);
    assert_eq!(found.tokens[0].revoked_ms, Some(320_000));
    assert_eq!(found.uses.unrecorded, 3);
    assert_eq!(found.uses.confidentiality, Confidentiality::NotAssessable);
    assert_eq!(facts(&store, &incident(tokens(&["none"]))).await.count, 0);
}

pub(crate) async fn use_before_and_after_a_leak_is_told_apart<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
    for id in ["quiet", "same", "moved", "unknown"] {
        issue(&store, &token(id)).await;
    }
    let reports = [
        report_from("i", 1, 150_000, &[("quiet", ACCEPTED), ("same", ACCEPTED)], ("CH", 1)),
        report_from("i", 2, 150_001, &[("moved", ACCEPTED)], ("CH", 1)),
        report_from("i", 3, 400_000, &[("same", ACCEPTED), ("moved", "scope_missing")], ("CH", 1)),
        report_from("i", 4, 400_001, &[("moved", ACCEPTED), ("moved", ACCEPTED)], ("US", 2)),
        report_from("i", 5, 400_002, &[("quiet", "token_revoked")], ("US", 2)),
    ];
    add(&store, &reports).await.unwrap();
    let of = async |id: &str| facts(&store, &incident(tokens(&[id]))).await.uses;
    let quiet = of("quiet").await;
    assert_eq!((quiet.after, quiet.confidentiality), ((0, 0), Confidentiality::NotAssessable));
    // Once no guard accepts it any more, and the guard has reported since then, its silence says something.
    let later = UnixMillis(1_100_000);
    let silent = async |id: &str| facts_at(&store, &incident(tokens(&[id])), later).await.uses;
    assert_eq!(silent("quiet").await.confidentiality, Confidentiality::NotAssessable);
    let end = report_from("i", 6, 1_050_000, &[("unknown", "expired")], ("CH", 1));
    add(&store, &[end]).await.unwrap();
    let quiet = silent("quiet").await;
    assert_eq!(quiet.confidentiality, Confidentiality::NotExfiltrated, "{}", quiet.why);
    assert_eq!(silent("same").await.confidentiality, Confidentiality::NotAssessable);
    assert_eq!(
        quiet.countries.iter().map(|one| one.when).collect::<Vec<_>>(),
        [When::Before, When::After]
    );
    let same = of("same").await;
    assert_eq!((same.accepted, same.after), (2, (1, 1)));
    assert_eq!(same.confidentiality, Confidentiality::NotAssessable);
    assert_eq!(same.countries[0].when, When::Both);
    let moved = of("moved").await;
    assert_eq!((moved.accepted, moved.refused, moved.after), (3, 1, (1, 2)));
    assert_eq!(moved.confidentiality, Confidentiality::Likely, "{}", moved.why);
    assert!(moved.why.contains("US"), "{}", moved.why);
    // Nobody knows when it leaked: nothing follows from its use.
    let mut without = incident(tokens(&["moved"]));
    without.leaked_ms = None;
    let uses = facts(&store, &without).await.uses;
    assert_eq!((uses.after, uses.confidentiality), ((0, 3), Confidentiality::NotAssessable));
    // A report is missing: silence says nothing.
    let after_gap = report_from("i", 8, 1_080_000, &[("unknown", "expired")], ("CH", 1));
    add(&store, &[after_gap]).await.unwrap();
    assert_eq!(silent("quiet").await.confidentiality, Confidentiality::NotAssessable);
}

pub(crate) async fn a_resumed_token_works_and_a_late_act_ends_nothing<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
    issue(&store, &token("t")).await;
    let one = async || facts(&store, &incident(tokens(&["t"]))).await;
    let change = async |change, at| {
        let mut act = act(change, named("t"));
        act.at = UnixMillis(at);
        perform(&store, &act).await.unwrap().unwrap();
    };
    change(StatusChange::Suspend, 310_000).await;
    let found = one().await;
    assert_eq!((found.tokens[0].revoked_ms, found.stop.live), (Some(310_000), 0));
    assert_eq!(found.stop.unpublished, 1, "the change is not published yet");
    change(StatusChange::Resume, 320_000).await;
    let found = one().await;
    assert_eq!((found.tokens[0].revoked_ms, found.stop.live), (None, 1));
    change(StatusChange::Revoke, 400_000).await;
    let found = one().await;
    assert_eq!(found.tokens[0].revoked_ms, Some(400_000), "it worked again until then");
    assert_eq!(found.acts.iter().filter(|act| act.resumes).count(), 1);
    // An act after the expiry is no end of it.
    issue(&store, &of_role("late", "u")).await;
    revoke(&store, role("late"), 800_000).await;
    let found = facts_at(&store, &incident(tokens(&["u"])), UnixMillis(810_000)).await;
    assert_eq!(found.tokens[0].revoked_ms, None);
    assert_eq!(found.tokens[0].stops_ms, 1_000_000, "its expiry and the longest leeway");
}

pub(crate) async fn a_report_leaves_open_what_only_people_know<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
    issue(&store, &token("t")).await;
    let user = PolicyUser { actor: "serve".into(), at: NOW, serves: true };
    let policy = Arc::new(IssuerPolicy::default());
    let policy = LivePolicy::record(policy, &store, &user).await.unwrap();
    let config = config();
    let report = async |incident: &Incident, now: u64| {
        let facts = facts(&store, incident).await;
        Report::new(incident, facts, (&config, &policy), UnixMillis(now))
    };
    let mut incident = incident(tokens(&["t"]));
    let draft = report(&incident, NOW.0).await;
    let field = |report: &Report, name: &str| {
        let mut fields = report.sections.iter().flat_map(|section| &section.fields);
        let found = fields.find(|field| field.name == name).unwrap();
        (found.state, found.value.first().cloned().unwrap_or_default())
    };
    assert_eq!(field(&draft, "state").1, "incomplete");
    assert_eq!(field(&draft, "occurrence").1, "ongoing");
    assert_eq!(field(&draft, "risk").0, FilledState::Open);
    assert_eq!(field(&draft, "late_reasons").0, FilledState::NotApplicable);
    assert!(draft.sections.iter().all(|section| !section.fields.is_empty()));
    let late = report(&incident, incident.due_ms() + 1).await;
    assert!(late.clock.is_late);
    assert_eq!(field(&late, "late_reasons").0, FilledState::Open);
    // Once every open field has an answer, it is complete. Answers decide what else is asked.
    for _ in 0..3 {
        let draft = report(&incident, NOW.0).await;
        let answers = draft.open().map(|field| {
            let choices = field.choices.as_deref();
            let first = choices.map(|text| text.trim_start_matches("some of "));
            let answer = match first.and_then(|text| text.split([',', '|']).next()) {
                Some("exact N ") => "exact 3",
                Some(first) => first.trim(),
                None => "an answer",
            };
            (field.name.clone(), answer.to_owned())
        });
        let answers: std::collections::BTreeMap<_, _> = answers.collect();
        if !answers.is_empty() {
            incident.note(Noting { answers, ..Noting::default() }, NOW).unwrap();
        }
    }
    let whole = report(&incident, NOW.0).await;
    assert_eq!(whole.open().count(), 0, "{:?}", whole.open().collect::<Vec<_>>());
    assert_eq!(field(&whole, "state"), (FilledState::Known, "complete".to_owned()));
    let round: Report = serde_json::from_str(&serde_json::to_string(&whole).unwrap()).unwrap();
    assert_eq!(round, whole);
}
