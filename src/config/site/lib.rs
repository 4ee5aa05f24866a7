//! The reading of a configuration: from the files of a site to the plan of a service.
//!
//! Purpose: read main.cf, master.cf, mapkeep.cf and the account files, check who could have written them, and say what
//! follows. May: open files for reading; run postconf(1), before lock-down only. Never: change anything.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![forbid(unsafe_code)]

pub mod accounts;
pub mod checks;
pub mod configuration;
pub mod deciding;
pub mod defaults;
pub mod error;
pub mod files;
pub mod load_config;
pub mod notices;
pub mod options;
pub mod place;
pub mod plan;
pub mod remark;
