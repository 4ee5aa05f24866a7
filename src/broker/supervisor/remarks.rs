//! What there is to say about the configuration, in the log.

use mapkeep_config_site::remark::Remark;
use mapkeep_config_text::Severity;

/// Logs each with its own severity.
pub(crate) fn log_remarks(remarks: &[Remark]) {
    for remark in remarks {
        match remark.severity {
            Severity::Warning => tracing::warn!("{remark}"),
            Severity::Error => tracing::error!("{remark}"),
        }
    }
}
