//! The commands of systemd that take the place of the actions.

use std::process::ExitCode;

use super::super::{hint, say};
use super::{Action, Setup};

/// Prints the command of systemd for the action. Nothing is done: exit 1.
pub(super) fn carry_out(action: &Action) -> ExitCode {
    let command = match action {
        Action::Install(Setup { config, log }) => {
            let is_standard = config.is_none() && log.is_none();
            let unit =
                if is_standard { "" } else { "; 'systemctl edit portcullis' changes its command line" };
            return refuse(&format!(
                "install the package, which has the unit portcullis.service, then run: systemctl enable --now \
                 portcullis{unit}"
            ));
        }
        Action::Uninstall => "systemctl disable --now portcullis",
        Action::Start => "systemctl start portcullis",
        Action::Stop => "systemctl stop portcullis",
        Action::Status => "systemctl status portcullis",
        Action::Run(_) => "portcullis run --config FILE",
    };
    refuse(&format!("run: {command}"))
}

fn refuse(remedy: &str) -> ExitCode {
    say(format_args!("'portcullis service' is for Windows; here systemd runs the service"));
    hint(remedy);
    ExitCode::FAILURE
}
