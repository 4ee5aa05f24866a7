//! Who could have written the files of the configuration, and what is left of mapkeep.cf.

use crate::deciding::distrusted;
use crate::files::Unreadable;
use crate::remark::{Remark, Subject};
use mapkeep_broker_trust::{Owners, People};
use mapkeep_config_text::{FileName, KeepSettings, Parameters};
use std::path::Path;
use std::rc::Rc;

/// mapkeep.cf, as far as it is trusted.
pub(super) fn as_far_as_trusted(
    mut keep: KeepSettings,
    directory: &Path,
    unreadable: &[Unreadable],
    parameters: &Parameters,
    people: &Rc<People>,
    remarks: &mut Vec<Remark>,
) -> KeepSettings {
    let root = Owners::root().among(Rc::clone(people));
    let problem_of = |file: FileName| distrusted(&directory.join(file.to_string()), &root);
    for file in [FileName::MainCf, FileName::MasterCf] {
        // They are used nevertheless, as in stock: whoever can write them decides what master(8) runs.
        remarks.extend(problem_of(file).map(|problem| {
            let text = format!("decides what is served, but {problem}; make it writable by root only");
            Remark::warning(Subject::File(file), text)
        }));
    }
    let file = FileName::KeepCf;
    let unreadable = unreadable.iter().find(|one| one.file == file);
    let (problem, remedy) = match (problem_of(file), unreadable) {
        (Some(problem), _) => (problem, "make it writable by root only"),
        (None, Some(unreadable)) => (unreadable.to_string(), "make it a file that the service can read"),
        (None, None) => return keep,
    };
    let text = format!(
        "is ignored and all its settings have their defaults: {problem}; {remedy}, then reload the service"
    );
    remarks.push(Remark::error(Subject::File(file), text));
    if unreadable.is_some() {
        // It is not known which users it names.
        keep.table_owners.accounts.clear();
    }
    keep.distrusted(parameters)
}
