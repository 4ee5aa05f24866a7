//! Whole configurations, written after the layouts of well-known distributions, compared with the installed
//! Postfix: every parameter, every service, and the verdict on every table.
#![cfg(test)]

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::{ConfigDir, Count, for_each, normalised, postconf_defaults, postfix_is_here};
use mapkeep_config_text::{MasterCf, Parameters, Service, Settings, approved, parse_main, parse_master};

/// Parameters that postconf shows unexpanded.
const TEMPLATES: [&str; 6] = [
    "default_rbl_reply",
    "forward_path",
    "postscreen_expansion_filter",
    "postscreen_reject_footer",
    // The number of whichever process is asked.
    "process_id",
    "smtpd_expansion_filter",
];

struct Sample {
    name: String,
    main: String,
    master: String,
}

fn samples() -> Vec<Sample> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let mut samples: Vec<Sample> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = |file: &str| std::fs::read_to_string(path.join(file)).unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            Sample { name, main: text("main.cf"), master: text("master.cf") }
        })
        .collect();
    samples.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(samples.len() >= 12, "{} samples", samples.len());
    samples
}

fn parameters(sample: &Sample, directory: &Path, process: &str) -> Parameters {
    let (main, _) = parse_main(sample.main.as_bytes());
    let mut params = Parameters::new(main).with_defaults(&postconf_defaults());
    params.set_fixed("process_name", process.as_bytes());
    params.set_fixed("config_directory", directory.as_os_str().as_encoded_bytes());
    params
}

fn master(sample: &Sample) -> MasterCf {
    let (master, complaints) = parse_master(sample.master.as_bytes());
    assert_eq!(complaints, vec![], "{}", sample.name);
    master
}

#[test]
fn expand_every_parameter_agrees_with_postconf() {
    if !postfix_is_here() {
        return;
    }
    let compared = Count::default();
    let (mut own, mut differences) = (0, Vec::new());
    for sample in samples() {
        let dir = ConfigDir::with_master(&sample.main, &sample.master);
        let params = parameters(&sample, dir.path(), "postconf");
        let (main, _) = parse_main(sample.main.as_bytes());
        let mut seen = BTreeSet::new();
        for line in dir.postconf(&["-x"]) {
            let (name, theirs) = line.split_once(" =").unwrap();
            // Parameters of a transport (`scan_recipient_limit`) exist for master.cf's services; the others here
            // are templates whose references are filled in for each message, and are shown as they are.
            if params.raw(name).is_none() || TEMPLATES.contains(&name) {
                continue;
            }
            let ours = params.expand(name).map(|value| normalised(&value));
            if ours.as_deref() != Ok(normalised(theirs.as_bytes()).as_str()) {
                differences.push(format!("{}: {name} = {theirs}, not {ours:?}", sample.name));
            }
            seen.insert(name.to_owned());
            compared.add(true);
        }
        // Parameters that nothing of Postfix knows are shown when asked for by name.
        for (name, _) in main.iter() {
            let name = std::str::from_utf8(name).unwrap();
            own += 1;
            if seen.contains(name) {
                continue;
            }
            let theirs = dir.expanded(name).filter(|text| !text.is_empty());
            let ours = params.expand(name).map(|value| normalised(&value)).ok();
            if let Some(theirs) = theirs
                && ours != Some(normalised(theirs.as_bytes()))
            {
                differences.push(format!("{}: {name} = {theirs}, not {ours:?}", sample.name));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(compared.get() > 10_000 && own > 400, "{} compared, {own} set", compared.get());
}

#[test]
fn parse_master_agrees_with_postconf() {
    if !postfix_is_here() {
        return;
    }
    let (mut services, mut overrides) = (0, 0);
    for sample in samples() {
        let dir = ConfigDir::with_master(&sample.main, &sample.master);
        let (mut entries, mut options) = (Vec::new(), Vec::new());
        for service in master(&sample).services {
            let (name, kind) = (normalised(&service.name), format!("{:?}", service.transport));
            let kind = kind.to_lowercase().replace("unixdgram", "unix-dgram");
            let flag = |flag: Option<bool>| flag.map_or("-", |yes| if yes { "y" } else { "n" });
            let wakeup = service.wakeup.as_ref().map_or("-".to_owned(), |wakeup| {
                format!("{}{}", wakeup.seconds, if wakeup.if_used { "?" } else { "" })
            });
            let limit = service.process_limit.map_or("-".to_owned(), |limit| limit.to_string());
            let (private, unprivileged) = (flag(service.private), flag(service.unprivileged));
            let chroot = flag(service.chroot);
            let command = normalised(&service.command);
            entries
                .push(format!("{name} {kind} {private} {unprivileged} {chroot} {wakeup} {limit} {command}"));
            for item in &service.overrides {
                let (parameter, value) = (normalised(&item.name), normalised(&item.value));
                options.push(format!("{name}/{kind}/{parameter} = {value}").trim().to_owned());
            }
        }
        services += entries.len();
        overrides += options.len();
        let theirs: Vec<String> = dir
            .postconf(&["-Mf"])
            .iter()
            .filter(|line| !line.starts_with([' ', '\t']))
            .map(|line| line.split_whitespace().take(8).collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(entries, theirs, "{}", sample.name);
        // Of an option given twice the last counts; postconf sorts.
        let set = |lines: Vec<String>| lines.into_iter().collect::<BTreeSet<_>>();
        let theirs = dir.postconf(&["-P"]).iter().map(|line| normalised(line.as_bytes())).collect();
        assert_eq!(set(options), set(theirs), "{}", sample.name);
    }
    assert!(services > 160 && overrides > 60, "{services} services, {overrides} overrides");
}

/// Every `type:name` in the text, proxied or not, and what a careless comparison would take for one of `approved`.
fn candidates(sample: &Sample, params: &Parameters, approved: &BTreeSet<String>) -> Vec<String> {
    let mut names = approved.clone();
    let (main, _) = parse_main(sample.main.as_bytes());
    let values = main.iter().filter_map(|(name, _)| params.expand(std::str::from_utf8(name).unwrap()).ok());
    for value in values {
        let value = String::from_utf8_lossy(&value).into_owned();
        let words = value.split([' ', '\t', ',', '{', '}', '\n']);
        names.extend(words.filter(|word| word.contains(":/")).map(|word| word.replace("proxy:", "")));
        names.extend(
            value.split("proxy:").skip(1).filter_map(|rest| rest.split([' ', ',']).next()).map(str::to_owned),
        );
    }
    for name in approved.iter().step_by(3) {
        let (kind, rest) = name.split_once(':').unwrap_or((name, ""));
        names.extend([
            format!("{kind}:/{rest}"),
            format!("{kind}:{rest}/"),
            format!("{kind}: {rest}"),
            format!("{}:{rest}", kind.to_uppercase()),
            format!("{name}.db"),
            name[..name.len() - 1].to_owned(),
        ]);
    }
    // A name without a type, or with a NUL, is not what this is about; a client's own `proxy:` is cut off.
    names.retain(|name| name.contains(':') && name.is_ascii());
    names.into_iter().collect()
}

#[test]
fn approved_every_table_agrees_with_proxymap() {
    if !postfix_is_here() {
        return;
    }
    let (yes, no) = (Count::default(), Count::default());
    let mut differences = Vec::new();
    for sample in samples() {
        let dir = ConfigDir::with_master(&sample.main, &sample.master);
        let master = master(&sample);
        for (service, name) in [(Service::Read, "proxymap"), (Service::Write, "proxywrite")] {
            let mut params = parameters(&sample, dir.path(), "proxymap");
            params.set_fixed("service_name", name.as_bytes());
            let entry = master.unix_service(name.as_bytes()).unwrap();
            assert_eq!(params.apply(entry), vec![], "{}", sample.name);
            let (_, complaints) = Settings::from(&params);
            assert_eq!(complaints, vec![], "{}", sample.name);
            let (tables, complaints) = approved(&params, service, params.version(), &mut |_| None);
            assert_eq!(complaints, vec![], "{}", sample.name);
            assert!(tables.iter().all(|table| !table.provenance.is_empty()), "{}", sample.name);
            let ours: BTreeSet<String> =
                tables.iter().map(|table| String::from_utf8_lossy(&table.name).into_owned()).collect();
            let asked = candidates(&sample, &params, &ours);
            // As master(8) does: who it is, then the arguments of master.cf.
            let mut arguments = ["-n", name, "-t", "unix"].map(|word| word.as_bytes().to_vec()).to_vec();
            arguments.extend(entry.arguments.clone());
            let found = std::sync::Mutex::new(Vec::new());
            for_each(&asked, |table| {
                let theirs = dir.approves_with(&arguments, table);
                if theirs != Some(ours.contains(table)) {
                    let line = format!("{}: {name}: {table}: stock says {theirs:?}", sample.name);
                    found.lock().unwrap().push(line);
                }
                yes.add(theirs == Some(true));
                no.add(theirs == Some(false));
            });
            differences.extend(found.into_inner().unwrap());
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(yes.get() > 180 && no.get() > 700, "{} approved, {} not", yes.get(), no.get());
}
