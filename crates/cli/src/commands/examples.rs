//! Examples for `--help`. A test parses each of them.

pub(super) const INIT: &str = "\
Examples:
  edgepass init my-issuer && cd my-issuer
  edgepass init my-issuer --issuer https://auth.example --listen 0.0.0.0:8787
  edgepass init --config policy/ --environment staging --bootstrap";

pub(super) const SERVE: &str = "\
Examples:
  edgepass serve
  edgepass serve --config policy/ --watch

EDGEPASS_LOG selects what is logged, such as info or edgepass_server=debug. SIGHUP makes it read its policy again.";

pub(super) const ISSUE: &str = "\
Examples:
  edgepass issue --role invoice-reader --ttl 5m > token.jwt
  edgepass issue --role invoice-reader --scope invoices:read --subject ada --json
  edgepass issue --replace JTI --grace 30s
  edgepass issue --grant ar_M1QVJhyV5mC0kQ1sJ9y5Xg";

pub(super) const SELECTING: &str = "\
Examples:
  edgepass revoke --jti ID --reason \"laptop lost\"
  edgepass revoke - --reason leak < token.jwt
  edgepass revoke --role invoice-clerk --issued-before now --reason leak --dry-run
  edgepass suspend --client billing --reason \"an invoice is missing\"
  edgepass resume --client billing --reason \"it was found\"

Name tokens by --jti, --jti-file or a token file, or select them by --role, --client, --subject,
--agreement, --grant, --key and --issued-before. A selected token must match all of these options that are given. --all
selects every token of the environment.";

pub(super) const TOKENS: &str = "\
Examples:
  edgepass tokens --client billing --live --limit 20
  edgepass tokens --expiring-in 1h --csv > soon.csv
  edgepass tokens --live --unused-for 7d
  edgepass tokens --since 1h --follow --json";

pub(super) const AUDIT: &str = "\
Examples:
  edgepass audit --jti ID
  edgepass audit --since 1h --follow --json
  edgepass audit verify --checkpoint https://witness.example/invoices.checkpoint
  edgepass audit export --from 2026-11-01 --to 2026-12-01 --format csv > november.csv";

pub(super) const AUDIT_EXPORT: &str = "\
Examples:
  edgepass audit export > trail.jsonl
  edgepass audit export --from 2026-11-01 --to 2026-12-01 --format csv > november.csv";

pub(super) const AUDIT_KEY: &str = "\
Examples:
  edgepass audit key --json";

pub(super) const ERASE: &str = "\
Examples:
  edgepass erase --subject ada --reason \"request of 2026-11-02\" --dry-run
  edgepass erase --subject ada --reason \"request of 2026-11-02\"";

pub(super) const INSPECT: &str = "\
Examples:
  edgepass inspect token.jwt
  edgepass issue --role invoice-reader | edgepass inspect -";

pub(super) const VERIFY: &str = "\
Examples:
  edgepass verify - < token.jwt
  edgepass verify token.jwt --issuer https://auth.example --audience https://api.example
  edgepass verify token.jwt --country DE --address 203.0.113.7
  edgepass verify --batch log.jsonl > verdicts.jsonl";

pub(super) const DOCTOR: &str = "\
Examples:
  edgepass doctor
  edgepass doctor --url https://api.example/invoices --role invoice-reader --json";

pub(super) const ALLOT: &str = "\
Examples:
  edgepass status allot --jti ID --iss https://other.example --expires-in 1h";

pub(super) const KEYS_LIST: &str = "\
Examples:
  edgepass keys list --json";

pub(super) const KEYS_ROTATE: &str = "\
Examples:
  edgepass keys rotate";

pub(super) const KEYS_COMPROMISE: &str = "\
Examples:
  edgepass keys compromise KID --reason \"the disk was copied\"";

pub(super) const POLICY_CHECK: &str = "\
Examples:
  edgepass policy check --config policy/ --strict
  edgepass policy check --json";

pub(super) const POLICY_DIFF: &str = "\
Examples:
  edgepass policy diff
  edgepass policy diff --server https://auth.example/prod --config policy/";

pub(super) const POLICY_APPLY: &str = "\
Examples:
  edgepass policy diff; edgepass policy apply";

pub(super) const POLICY_SHOW: &str = "\
Examples:
  edgepass policy show
  edgepass policy show 3";

pub(super) const CLIENT_LIST: &str = "\
Examples:
  edgepass client list --json";

pub(super) const CLIENT_ADD: &str = "\
Examples:
  edgepass client add billing --role invoice-reader --new-key billing.jwk
  edgepass client add api --introspects https://api.example
  edgepass client add guard --role edgepass-guard --reports-use-of https://api.example";

pub(super) const CLIENT_SECRET: &str = "\
Examples:
  edgepass client-secret --json";

pub(super) const LEAKS_RULE: &str = "\
Examples:
  edgepass leaks rule --format gitleaks > edgepass.toml
  edgepass leaks rule --format kingfisher > edgepass.yml";

pub(super) const COMPLETIONS: &str = "\
Examples:
  edgepass completions bash > /etc/bash_completion.d/edgepass
  edgepass completions zsh > ~/.zfunc/_edgepass";

pub(super) const UNDO: &str = "\
Examples:
  edgepass undo 7";

pub(super) const ACCESS_LIST: &str = "\
Examples:
  edgepass access list --pending
  edgepass access list --unreviewed --json";

pub(super) const ACCESS_SHOW: &str = "\
Examples:
  edgepass access show ar_M1QVJhyV5mC0kQ1sJ9y5Xg";

pub(super) const ACCESS_APPROVE: &str = "\
Examples:
  edgepass access approve ar_M1QVJhyV5mC0kQ1sJ9y5Xg
  edgepass access approve ar_M1QVJhyV5mC0kQ1sJ9y5Xg --digest DIGEST --comment \"on call this week\"";

pub(super) const ACCESS_DENY: &str = "\
Examples:
  edgepass access deny ar_M1QVJhyV5mC0kQ1sJ9y5Xg --comment \"ask the customer first\"";

pub(super) const ACCESS_END: &str = "\
Examples:
  edgepass access end ar_M1QVJhyV5mC0kQ1sJ9y5Xg";

pub(super) const ACCESS_REVIEW: &str = "\
Examples:
  edgepass access review ar_M1QVJhyV5mC0kQ1sJ9y5Xg --comment \"nothing but the invoice was read\"";

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use crate::commands::Cli;

    /// The words of a command line, up to where a shell takes over.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
        for char in line.chars() {
            match char {
                '"' => quoted = !quoted,
                ' ' if !quoted => {
                    words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)))
                }
                '|' | '<' | '>' | '&' | ';' if !quoted => break,
                char => word.push(char),
            }
        }
        words.extend((!word.is_empty()).then_some(word));
        words
    }

    fn check(command: &clap::Command, path: &str) -> usize {
        let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(text.contains("Examples:"), "{path} has no examples");
        let lines = text.lines().filter_map(|line| line.strip_prefix("  edgepass "));
        let mut number = 0;
        for line in lines {
            let words = [vec!["edgepass".to_owned()], words(line)].concat();
            if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{path}: edgepass {line}: {error}");
            }
            number += 1;
        }
        number
    }

    /// Commands, with those below them.
    fn walk(command: &clap::Command, path: &str) -> usize {
        let below: Vec<_> =
            command.get_subcommands().filter(|own| own.get_name() != "help").collect();
        let path = format!("{path} {}", command.get_name());
        // A group of commands only names them.
        let own = if below.is_empty() { check(command, &path) } else { 0 };
        own + below.iter().map(|own| walk(own, &path)).sum::<usize>()
    }

    #[test]
    fn every_command_has_examples_that_it_understands() {
        let mut command = Cli::command();
        command.build();
        assert!(walk(&command, "") > 50);
        check(&command, "");
    }
}
