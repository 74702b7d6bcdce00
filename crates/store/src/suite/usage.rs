//! Reports of use.

use edgepass_issuer::misuse::{self, Brakes, Finding, Rule, Rules};
use edgepass_issuer::storage::{
    MisuseStore, Page, Store, StoreError, TokenFilter, TokenStore, UsageStore,
};
use edgepass_issuer::usage::{
    MAX_DAY_SUMS, Outcome, Reported, UsageBy, UsageFilter, complete_since_ms,
};
use edgepass_usage::table::Header;
use edgepass_usage::{ACCEPTED, Counted, Place, Report, Route, Table};

use super::{Database, TestStore, issue, now, of_role, test_store, token};

/// Adds reports without rules.
pub(super) async fn add(
    store: &impl Store,
    reports: &[Reported],
) -> Result<Vec<Outcome>, StoreError> {
    let brakes = Brakes::default();
    let rules = Rules { rules: &[], brakes: &brakes, clients: &[], policy: 1, now_ms: now().0 };
    Ok(store.add_usage(reports, &rules).await?.0)
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn reported(report: Report) -> Reported {
    let at_ms = report.to_ms;
    Reported { report, reporter: "guard".into(), audiences: vec!["a".into()], at_ms }
}

/// The report `number` of an isolate: `uses` of tokens, each with a code, at a time.
fn report(isolate: &str, number: u64, at_ms: u64, uses: &[(&str, &'static str)]) -> Reported {
    report_from(isolate, number, at_ms, uses, ("CH", 13030))
}

/// As [`report`], from a country and a network.
pub(super) fn report_from(
    isolate: &str,
    number: u64,
    at_ms: u64,
    uses: &[(&str, &'static str)],
    (country, asn): (&str, u32),
) -> Reported {
    let mut table = Table::default();
    let place = Place { country: Some(country.into()), asn: Some(asn), ..Place::default() };
    for (jwt_id, code) in uses {
        let scope = "a:read";
        let counted = Counted { jwt_id, client_id: "c", scope, route: 1, code, place: &place };
        table.count(&counted, at_ms);
    }
    let route = |_| Route { name: "GET /a".into(), needs: vec!["a:read".into(), "a:b".into()] };
    reported(taken(table, isolate, number, route))
}

fn taken(mut table: Table, isolate: &str, number: u64, route: impl Fn(u32) -> Route) -> Report {
    let header = Header { isolate, number, issuer: "https://i", lost: 0 };
    serde_json::from_str(&table.take(&header, route).unwrap().text).unwrap()
}

pub(crate) async fn a_report_counts_once_and_only_for_tokens_of_its_reporter<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
    issue(&store, &token("mine")).await;
    let mut other = token("other");
    other.facts.audience = "b".into();
    issue(&store, &other).await;
    let at = 10 * DAY_MS + 1_000;
    let first = report(
        "i1",
        1,
        at,
        &[("mine", ACCEPTED), ("mine", "scope_missing"), ("other", ACCEPTED), ("no", ACCEPTED)],
    );
    let again = report("i1", 2, at + 60_000, &[("mine", ACCEPTED)]);
    // The second one is a repetition of the first one, in the same transaction.
    let outcomes = add(&store, &[first.clone(), first.clone(), again]).await.unwrap();
    let taken = |foreign| Outcome::Taken { foreign };
    assert_eq!(outcomes, [taken(2), Outcome::Repeated, taken(0)]);
    assert_eq!(add(&store, &[first]).await.unwrap(), [Outcome::Repeated]);
    let page = Page::first(false, 10);
    let tokens = store.tokens(&TokenFilter::default(), page).await.unwrap();
    let seqs: Vec<u64> = tokens.iter().map(|token| token.seq).collect();
    let uses = store.token_uses(&seqs).await.unwrap();
    assert_eq!(uses.len(), 1, "of tokens that were never used there is nothing");
    let own = &uses[&seqs[0]];
    assert_eq!((own.accepted, own.refused), (2, 1));
    assert_eq!(
        (own.first_ms, own.last_ms, own.last_refused_ms),
        (Some(at), Some(at + 60_000), Some(at))
    );
    assert_eq!(own.detail.countries.counts["CH"].count, 3);
    assert_eq!(own.detail.asns.counts["13030"].count, 3);
    assert_eq!(own.detail.routes.counts["GET /a"].count, 2);
    assert_eq!(own.detail.scopes.counts.keys().collect::<Vec<_>>(), ["a:read"]);
    assert_eq!(own.detail.codes.counts["scope_missing"].count, 1);
    for (by, name) in [
        (UsageBy::Day, "10"),
        (UsageBy::Role, "reader"),
        (UsageBy::Client, "c"),
        (UsageBy::Scope, "a:read"),
        (UsageBy::Route, "GET /a"),
    ] {
        let sums = store.usage_sums(&UsageFilter::default(), by, 10).await.unwrap();
        let [sum] = sums.as_slice() else { panic!("{by:?}: {sums:?}") };
        assert_eq!((sum.name.as_str(), sum.accepted, sum.refused), (name, 2, 1), "{by:?}");
        assert_eq!((sum.first_day, sum.last_day), (10, 10));
    }
    let own = UsageFilter { scope: Some("a:read".into()), ..UsageFilter::default() };
    assert_eq!(store.usage_sums(&own, UsageBy::Code, 10).await.unwrap().len(), 2);
    for filter in [
        UsageFilter { role: Some("writer".into()), ..UsageFilter::default() },
        UsageFilter { client_id: Some("d".into()), ..UsageFilter::default() },
        UsageFilter { since_day: 11, ..UsageFilter::default() },
        UsageFilter { scope: Some("a:rea".into()), ..UsageFilter::default() },
        UsageFilter { scope: Some("a:%".into()), ..UsageFilter::default() },
    ] {
        assert!(store.usage_sums(&filter, UsageBy::Code, 10).await.unwrap().is_empty());
    }
}

pub(crate) async fn what_is_missing_is_known<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
    issue(&store, &token("t")).await;
    let at = 20 * DAY_MS;
    let send = async |isolate: &str, number: u64, minutes: u64, lost: u64| {
        let mut one = report(isolate, number, at + minutes * 60_000, &[("t", ACCEPTED)]);
        one.report.lost = lost;
        add(&store, &[one]).await.unwrap();
    };
    send("i1", 1, 0, 0).await;
    send("i1", 2, 1, 0).await;
    send("i2", 1, 2, 0).await;
    let own = async || store.reporters().await.unwrap().pop().unwrap();
    let since = async |audience: &str, expected: &[&str], minutes: u64| {
        let reporters = store.reporters().await.unwrap();
        complete_since_ms(&reporters, audience, expected, at + minutes * 60_000)
    };
    let complete = async || since("a", &["guard"], 5).await;
    assert_eq!((own().await.missing, own().await.reports), (0, 3));
    assert_eq!(complete().await, Some(at));
    assert_eq!(since("b", &[], 5).await, None);
    assert_eq!(since("a", &["guard", "proxy"], 5).await, None, "one was never heard");
    assert_eq!(since("a", &["guard"], 2 + 24 * 60).await, Some(at));
    assert_eq!(since("a", &["guard"], 3 + 24 * 60).await, None, "it may have stopped");
    // Two reports never came.
    send("i1", 5, 3, 0).await;
    assert_eq!((own().await.missing, complete().await), (2, Some(at + 3 * 60_000)));
    // An isolate gave a report up, and says so once more.
    send("i2", 2, 4, 7).await;
    send("i2", 3, 5, 7).await;
    assert_eq!((own().await.lost, complete().await), (7, Some(at + 4 * 60_000)));
    // Isolates of other reporters are others, whatever they are called.
    let mut other = report("i1", 1, at, &[("t", ACCEPTED)]);
    other.reporter = "another".into();
    assert_eq!(add(&store, &[other]).await.unwrap(), [Outcome::Taken { foreign: 0 }]);
}

pub(crate) async fn uses_go_with_their_records_and_sums_with_their_days<D: Database>() {
    let TestStore { store, database } = test_store::<D>().await;
    for name in ["old", "new"] {
        let mut token = of_role(name, name);
        token.facts.expiration = if name == "old" { 700 } else { 5_000 };
        issue(&store, &token).await;
    }
    let at = 30 * DAY_MS;
    let uses = [("old", ACCEPTED), ("new", ACCEPTED)];
    add(&store, &[report("i1", 1, at, &uses)]).await.unwrap();
    add(&store, &[report("i2", 1, at + 3 * DAY_MS, &uses)]).await.unwrap();
    assert_eq!(database.number("SELECT count(*) FROM token_uses").await, 2);
    assert_eq!(store.forget_tokens(1_000, 10).await.unwrap(), 1);
    assert_eq!(database.number("SELECT count(*) FROM token_uses").await, 1);
    // A record that is gone gets no use any more.
    let late = report("i1", 2, at, &uses);
    assert_eq!(add(&store, &[late]).await.unwrap(), [Outcome::Taken { foreign: 1 }]);
    assert_eq!(store.forget_usage(30, at, 100).await.unwrap(), 0);
    // Two roles on day 30, and one isolate.
    assert_eq!(store.forget_usage(31, at + 1, 100).await.unwrap(), 3);
    assert_eq!(database.number("SELECT count(*) FROM usage_days").await, 2);
    assert_eq!(database.number("SELECT count(*) FROM usage_isolates").await, 1);
}

pub(crate) async fn what_reports_can_fill_is_limited<D: Database>() {
    let TestStore { store, database } = test_store::<D>().await;
    issue(&store, &token("t")).await;
    let at = 40 * DAY_MS;
    // Countries without end.
    let mut table = Table::default();
    for number in 0..100 {
        let (scope, code) = ("a:read", ACCEPTED);
        let place = Place { country: Some(format!("{number:02}")), ..Place::default() };
        let counted =
            Counted { jwt_id: "t", client_id: "c", scope, route: number, code, place: &place };
        table.count(&counted, at);
    }
    let route = |number| Route { name: format!("GET /{number}"), needs: Vec::new() };
    let many = reported(taken(table, "i1", 1, route));
    add(&store, &[many]).await.unwrap();
    let seq = store.token("t").await.unwrap().unwrap().seq;
    let uses = store.token_uses(&[seq]).await.unwrap();
    let countries = &uses[&seq].detail.countries;
    assert_eq!((countries.counts.len(), countries.others), (16, 16));
    // A day that is full takes no more routes, and loses no use.
    assert_eq!(database.number("SELECT count(*) FROM usage_days").await, 65);
    assert_eq!(store.reporters().await.unwrap()[0].folded, 36, "a token has 64 rows");
    let fill = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MAX_DAY_SUMS}) \
         INSERT INTO usage_days SELECT 40, 'r', 'c', 'x' || i, '', 'accepted', 1 FROM n"
    );
    database.execute(&fill).await.unwrap();
    add(&store, &[report("i2", 1, at, &[("t", ACCEPTED)])]).await.unwrap();
    let unknown = "SELECT count FROM usage_days WHERE day = 40 AND route = ''";
    assert_eq!(database.number(unknown).await, 36 + 1);
}

/// Whatever is reported, no more acts follow than the brakes allow, and a rule finds a token once.
pub(crate) async fn no_reports_make_more_acts_than_the_brakes_allow<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
    for number in 0..40 {
        let mut token = of_role(["a", "b", "c"][number % 3], &format!("t{number}"));
        token.facts.expiration = 60 * DAY_MS / 1000;
        issue(&store, &token).await;
    }
    let rule = serde_json::json!({
        "name": "two", "when": {"countries": {"more_than": 1, "within": "1h"}}, "action": "suspend",
    });
    let rule: Rule = serde_json::from_value(rule).unwrap();
    let brakes = Brakes {
        acts_per_hour: 7,
        acts_per_hour_and_role: 3,
        never_roles: vec!["c".into()],
        ..Brakes::default()
    };
    let rules = |now_ms| Rules {
        rules: std::slice::from_ref(&rule),
        brakes: &brakes,
        clients: &[],
        policy: 4,
        now_ms,
    };
    let is_held = |finding: &Finding| finding.outcome == misuse::Outcome::Capped;
    let begin = 50 * DAY_MS;
    let mut all: Vec<Finding> = Vec::new();
    let report = |round: u64, part: u64, now: u64| {
        let mut table = Table::default();
        for number in 0..20 {
            let jwt_id = format!("t{}", (part * 20 + number) % 40);
            let country = Some(["CH", "DE", "FR"][(round as usize + number as usize) % 3].into());
            let place = Place { country, ..Place::default() };
            let (scope, code) = ("", ACCEPTED);
            let counted =
                Counted { jwt_id: &jwt_id, client_id: "c", scope, route: 1, code, place: &place };
            table.count(&counted, now);
        }
        let route = |_| Route { name: "GET /".into(), needs: Vec::new() };
        reported(taken(table, &format!("i{part}"), round + 1, route))
    };
    for round in 0..60 {
        // Five minutes pass in each round.
        let now = begin + round * 5 * 60_000;
        for part in 0..2 {
            let (_, found) =
                store.add_usage(&[report(round, part, now)], &rules(now)).await.unwrap();
            for one in found {
                // An act takes the place of what the brakes held back.
                all.retain(|earlier| earlier.id != one.id || !is_held(earlier));
                all.push(one);
            }
        }
        let acts = |role: &str| {
            let within = |it: &&Finding| it.outcome.is_act() && it.at_ms + 3_600_000 > now;
            let of = |it: &&Finding| role.is_empty() || it.found.role == role;
            all.iter().filter(within).filter(of).count()
        };
        assert!(acts("") <= 7 && acts("a") <= 3 && acts("b") <= 3 && acts("c") == 0);
    }
    all.sort_by_key(|finding| finding.id);
    let mut subjects: Vec<&str> = all.iter().map(|it| it.found.subject.as_str()).collect();
    subjects.sort_unstable();
    subjects.dedup();
    assert_eq!((subjects.len(), all.len()), (40, 40), "each token once");
    let outcome = |wanted| all.iter().filter(|it| it.outcome == wanted).count();
    assert_eq!(outcome(misuse::Outcome::Never), 13);
    // The rest was held back at first, and follows as time goes by.
    assert_eq!(outcome(misuse::Outcome::Pending), 27);
    // What is recorded is what was returned.
    let stored = store.findings(Page::first(false, 100)).await.unwrap();
    assert_eq!(stored, all);
    let open = store.open_findings(None, 100).await.unwrap();
    assert_eq!(open.len(), outcome(misuse::Outcome::Pending));
    let id = open[0].id;
    let (pending, done) = (misuse::Outcome::Pending, misuse::Outcome::Done);
    assert!(store.set_outcome(id, (pending, done)).await.unwrap());
    assert!(!store.set_outcome(id, (pending, done)).await.unwrap(), "somebody was first");
    assert_eq!(store.finding(id).await.unwrap().unwrap().outcome, misuse::Outcome::Done);
    assert_eq!(store.open_findings(None, 100).await.unwrap().len(), open.len() - 1);
    // The webhook takes one, another is to be told again later, and a third is given up.
    let told = async || store.open_findings(Some(begin), 100).await.unwrap();
    let before = told().await.len();
    store.set_told(id, Some(begin), None).await.unwrap();
    store.set_told(id + 1, None, Some(begin + 1)).await.unwrap();
    assert_eq!(store.finding(id).await.unwrap().unwrap().told_ms, Some(begin));
    assert_eq!(store.finding(id + 1).await.unwrap().unwrap().attempts, 1);
    assert!(told().await.len() < before && told().await.iter().all(|it| it.id != id));
}
