//! The service manager of Windows.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use portcullis_config::{Log, LogFormat, LogLevel, Problem};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use windows_service::service::{
    ServiceAccess, ServiceAction, ServiceActionType, ServiceControl, ServiceControlAccept,
    ServiceErrorControl, ServiceExitCode, ServiceFailureActions, ServiceFailureResetPeriod, ServiceInfo,
    ServiceStartType, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_service::{define_windows_service, service_dispatcher};

use super::super::run::run_file;
use super::super::{hint, print, say};
use super::{Action, Setup};
use crate::app::RunOptions;
use crate::app::signals::stop;
use crate::log::{Guard, LogError, start_with};
use crate::platform::{data_directory, system_program};

/// The name of the service, and of its account.
const NAME: &str = "portcullis";
const DISPLAY_NAME: &str = "Portcullis";
const DESCRIPTION: &str = "A proxy for a private Redis that admits only the networks you choose";

/// The virtual account. Windows makes it with the service, and it has no password.
const ACCOUNT: &str = r"NT SERVICE\portcullis";

/// The pauses before the first, the second and every further restart after a failure.
const RESTARTS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

/// After so much time without a failure, the next one is the first again.
const FAILURES_FORGOTTEN: Duration = Duration::from_secs(24 * 60 * 60);

/// The files of the log that are kept, one for each day.
const LOG_FILES: usize = 14;

/// The longest time in which the service ends: the drain has 30 s by default, and an administrator may set more.
const STOPPING: Duration = Duration::from_secs(120);

/// The interval at which the state is looked at while the service starts or stops.
const LOOK: Duration = Duration::from_millis(250);

/// The reason why an action failed.
#[derive(Debug, thiserror::Error)]
enum ServiceError {
    /// The error of the service manager.
    #[error("the service manager refuses: {}", reason(.0))]
    Manager(#[from] windows_service::Error),
    /// A file of the service.
    #[error("{0}: {1}")]
    File(String, io::Error),
    /// The service is not in the wanted state in time.
    #[error("the service is still {0:?} after {STOPPING:?}; read its log")]
    Late(ServiceState),
    /// The service has ended at once.
    #[error("the service ended right after its start; read its log, and run 'portcullis check'")]
    Ended,
}

fn reason(error: &windows_service::Error) -> String {
    match error {
        windows_service::Error::Winapi(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// Carries out the action. Exit 0; 1 when it failed.
pub(super) fn carry_out(action: &Action) -> ExitCode {
    let done = match action {
        Action::Install(setup) => install(setup),
        Action::Uninstall => uninstall(),
        Action::Start => begin(),
        Action::Stop => end().map(|()| "stopped".to_owned()),
        Action::Status => return status(),
        Action::Run(setup) => return serve(setup),
    };
    match done {
        Ok(text) => print(format!("{text}\n").as_bytes()),
        Err(error) => fail(&error),
    }
}

fn fail(error: &ServiceError) -> ExitCode {
    /// The process has no right to change services (`ERROR_ACCESS_DENIED`).
    const ACCESS_DENIED: i32 = 5;
    say(format_args!("{error}"));
    if let ServiceError::Manager(windows_service::Error::Winapi(error)) = error
        && error.raw_os_error() == Some(ACCESS_DENIED)
    {
        hint("open the command prompt with 'Run as administrator'");
    }
    ExitCode::FAILURE
}

fn config_file(setup: &Setup) -> io::Result<PathBuf> {
    match &setup.config {
        Some(path) => std::path::absolute(path),
        None => Ok(data_directory().join("portcullis.yaml")),
    }
}

fn log_directory(setup: &Setup) -> io::Result<PathBuf> {
    match &setup.log {
        Some(path) => std::path::absolute(path),
        None => Ok(data_directory().join("log")),
    }
}

fn install(setup: &Setup) -> Result<String, ServiceError> {
    let of_file = |path: &Path| {
        let name = path.display().to_string();
        move |error| ServiceError::File(name, error)
    };
    let config = config_file(setup).map_err(of_file(Path::new("--config")))?;
    let log = log_directory(setup).map_err(of_file(Path::new("--log")))?;
    std::fs::metadata(&config).map_err(of_file(&config))?;
    std::fs::create_dir_all(&log).map_err(of_file(&log))?;
    let program = std::env::current_exe().map_err(of_file(Path::new("portcullis.exe")))?;
    let manager = ServiceManager::local_computer(
        None::<&str>,
        ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE,
    )?;
    let service = manager.create_service(
        &ServiceInfo {
            name: NAME.into(),
            display_name: DISPLAY_NAME.into(),
            service_type: ServiceType::OWN_PROCESS,
            start_type: ServiceStartType::AutoStart,
            error_control: ServiceErrorControl::Normal,
            executable_path: program,
            launch_arguments: arguments(&config, &log),
            dependencies: Vec::new(),
            account_name: Some(ACCOUNT.into()),
            account_password: None,
        },
        // To restart a service needs the right to start it.
        ServiceAccess::CHANGE_CONFIG | ServiceAccess::START,
    )?;
    service.set_description(DESCRIPTION)?;
    let restarts = service
        .update_failure_actions(failure_actions())
        .and_then(|()| service.set_failure_actions_on_non_crash_failures(true));
    if let Err(error) = restarts {
        say(format_args!("the service is not restarted after a failure: {}", reason(&error)));
        hint("set its recovery in services.msc");
    }
    permit(&log, "(OI)(CI)M").map_err(of_file(&log))?;
    permit(&config, "R").map_err(of_file(&config))?;
    Ok(format!(
        "installed: 'portcullis service start' starts it\n  configuration: {}\n  log: {}\n  account: {ACCOUNT}, which must \
         be able to read every file that the configuration names",
        config.display(),
        log.display()
    ))
}

fn arguments(config: &Path, log: &Path) -> Vec<OsString> {
    let words = [OsStr::new("service"), OsStr::new("run"), OsStr::new("--config"), config.as_os_str()];
    let log = [OsStr::new("--log"), log.as_os_str()];
    words.into_iter().chain(log).map(OsStr::to_owned).collect()
}

fn failure_actions() -> ServiceFailureActions {
    let restart = |delay| ServiceAction { action_type: ServiceActionType::Restart, delay };
    ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(FAILURES_FORGOTTEN),
        reboot_msg: None,
        command: None,
        actions: Some(RESTARTS.map(restart).to_vec()),
    }
}

/// Gives the account of the service rights to a file or directory.
fn permit(path: &Path, rights: &str) -> io::Result<()> {
    let output = Command::new(system_program("icacls.exe"))
        .arg(path)
        .args(["/grant", &format!("{ACCOUNT}:{rights}")])
        .output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("icacls: {}", String::from_utf8_lossy(&output.stderr).trim()))),
    }
}

fn open(access: ServiceAccess) -> Result<windows_service::service::Service, ServiceError> {
    let manager = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT)?;
    Ok(manager.open_service(NAME, access | ServiceAccess::QUERY_STATUS)?)
}

fn uninstall() -> Result<String, ServiceError> {
    end()?;
    open(ServiceAccess::DELETE)?.delete()?;
    Ok("uninstalled; the configuration and the log stay".to_owned())
}

fn begin() -> Result<String, ServiceError> {
    let service = open(ServiceAccess::START)?;
    if service.query_status()?.current_state == ServiceState::Stopped {
        service.start::<&OsStr>(&[])?;
    }
    match settled(&service, ServiceState::Running)? {
        ServiceState::Running => Ok("running".to_owned()),
        _ => Err(ServiceError::Ended),
    }
}

fn end() -> Result<(), ServiceError> {
    let service = open(ServiceAccess::STOP)?;
    if service.query_status()?.current_state != ServiceState::Stopped {
        service.stop()?;
        settled(&service, ServiceState::Stopped)?;
    }
    Ok(())
}

/// Waits until the service is in the wanted state, or has stopped.
fn settled(
    service: &windows_service::service::Service,
    wanted: ServiceState,
) -> Result<ServiceState, ServiceError> {
    let begin = Instant::now();
    loop {
        let state = service.query_status()?.current_state;
        if state == wanted || state == ServiceState::Stopped {
            return Ok(state);
        }
        if begin.elapsed() > STOPPING {
            return Err(ServiceError::Late(state));
        }
        sleep(LOOK);
    }
}

fn status() -> ExitCode {
    let found = open(ServiceAccess::QUERY_STATUS).and_then(|service| Ok(service.query_status()?));
    match found {
        Ok(status) => {
            let process = status.process_id.map(|id| format!(" (process {id})")).unwrap_or_default();
            let _ = writeln!(io::stdout().lock(), "{:?}{process}", status.current_state);
            match status.current_state {
                ServiceState::Running => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            }
        }
        Err(error) => fail(&error),
    }
}

/// The files of the service that runs in this process.
static FILES: OnceLock<Files> = OnceLock::new();

struct Files {
    config: PathBuf,
    log: PathBuf,
}

/// The service manager's handle of the service that runs in this process.
static HANDLE: OnceLock<ServiceStatusHandle> = OnceLock::new();

define_windows_service!(service_entry, service_main);

/// Serves until the service manager stops the service.
fn serve(setup: &Setup) -> ExitCode {
    let files = config_file(setup).and_then(|config| Ok(Files { config, log: log_directory(setup)? }));
    match files {
        Ok(files) => drop(FILES.set(files)),
        Err(error) => return fail(&ServiceError::File("the files of the service".to_owned(), error)),
    }
    match service_dispatcher::start(NAME, service_entry) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.into()),
    }
}

fn service_main(_: Vec<OsString>) {
    let handler = |control| match control {
        ServiceControl::Stop | ServiceControl::Shutdown => {
            tell(ServiceState::StopPending, ServiceExitCode::NO_ERROR);
            stop();
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    };
    let Ok(handle) = service_control_handler::register(NAME, handler) else { return };
    let _ = HANDLE.set(handle);
    tell(ServiceState::Running, ServiceExitCode::NO_ERROR);
    let failed = match FILES.get() {
        Some(files) => run(files) != ExitCode::SUCCESS,
        None => true,
    };
    let exit = if failed { ServiceExitCode::ServiceSpecific(1) } else { ServiceExitCode::NO_ERROR };
    tell(ServiceState::Stopped, exit);
}

fn run(files: &Files) -> ExitCode {
    let start = |settings: &Log| start_log(settings, &files.log);
    run_file(&files.config, RunOptions::default(), start, |problems| {
        let _log = start_log(&Log::new(LogFormat::Text, LogLevel::Info), &files.log);
        problems.iter().for_each(Problem::log);
    })
}

fn start_log(settings: &Log, directory: &Path) -> Result<Guard, LogError> {
    let files = RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix(NAME)
        .filename_suffix("log")
        .max_log_files(LOG_FILES)
        .build(directory);
    match files {
        Ok(files) => start_with(settings, files, None),
        // The service is of more use without a log than not at all.
        Err(_) => start_with(settings, io::sink(), None),
    }
}

/// Tells the service manager the state.
fn tell(state: ServiceState, exit_code: ServiceExitCode) {
    let Some(handle) = HANDLE.get() else { return };
    let accepted = match state {
        ServiceState::Running => ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN,
        _ => ServiceControlAccept::empty(),
    };
    // The service manager notices the end of the process in any case.
    let _ = handle.set_service_status(ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted: accepted,
        exit_code,
        checkpoint: 0,
        wait_hint: if state == ServiceState::StopPending { STOPPING } else { Duration::ZERO },
        process_id: None,
    });
}
