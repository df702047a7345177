//! `berth task-definition`.

use super::describe::{self, short};
use crate::failure::{Failure, Result};
use crate::output::{self, Rows};
use crate::session::Session;
use api::aws;
use clap::Subcommand;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Longest document read, in bytes: more than the server takes.
const DOCUMENT_BYTES_MAX: u64 = 2 * 1024 * 1024;

#[derive(Debug, Subcommand)]
pub enum TaskDefinitionCommand {
    /// Register a document as a new revision of its family
    #[command(
        after_help = "Examples:\n  berth task-definition register web.json\n  jq '.cpu = \"512\"' web.json | berth task-definition register -"
    )]
    Register {
        /// JSON as for `aws ecs register-task-definition --cli-input-json`; `-` for stdin
        file: PathBuf,
    },
    /// List families, or the revisions of one
    #[command(after_help = "Examples:\n  berth task-definition ls\n  berth task-definition ls web")]
    Ls { family: Option<String> },
    /// Show a revision: the latest, or FAMILY:REVISION
    #[command(after_help = "Examples:\n  berth task-definition show web\n  berth task-definition show web:3 > web.json")]
    Show { task_definition: String },
    /// Retire a revision: no new services and tasks of it
    #[command(after_help = "Examples:\n  berth task-definition deregister web:3")]
    Deregister { task_definition: String },
}

pub async fn run(session: &Session, command: TaskDefinitionCommand) -> Result<()> {
    match command {
        TaskDefinitionCommand::Register { file } => register(session, &file).await,
        TaskDefinitionCommand::Ls { family: None } => families(session).await,
        TaskDefinitionCommand::Ls { family: Some(family) } => revisions(session, family).await,
        TaskDefinitionCommand::Show { task_definition } => show(session, task_definition).await,
        TaskDefinitionCommand::Deregister { task_definition } => {
            session.announce();
            let gone = session.call(&aws::DeregisterTaskDefinitionRequest { task_definition }).await?.task_definition;
            let arn = &gone.task_definition_arn;
            session.out.done(arn, &format!("deregistered {}", short(arn)), &serde_json::json!({ "taskDefinition": gone }));
            Ok(())
        }
    }
}

async fn register(session: &Session, file: &Path) -> Result<()> {
    session.announce();
    let request: aws::RegisterTaskDefinitionRequest = serde_json::from_str(&read(file)?).map_err(|error| {
        Failure::usage(format!("{} is not a task definition", file.display()))
            .why(error)
            .next("write one JSON object with `family` and `containerDefinitions`")
    })?;
    let registered = session.call(&request).await?.task_definition;
    let arn = &registered.task_definition_arn;
    session.out.done(arn, &format!("registered {}", short(arn)), &serde_json::json!({ "taskDefinition": registered }));
    Ok(())
}

fn read(file: &Path) -> Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().lock().take(DOCUMENT_BYTES_MAX).read_to_string(&mut text)?;
    } else {
        let opened = std::fs::File::open(file).map_err(|error| Failure::usage(format!("cannot read {}", file.display())).why(error))?;
        opened.take(DOCUMENT_BYTES_MAX).read_to_string(&mut text)?;
    }
    Ok(text)
}

async fn families(session: &Session) -> Result<()> {
    let families = describe::families(session).await?;
    let mut rows = Rows::new(&["FAMILY"], "no task definitions that you may see");
    for family in &families {
        rows.push(family, vec![family.clone()]);
    }
    session.out.list(&rows, &serde_json::json!({ "families": families }));
    Ok(())
}

async fn revisions(session: &Session, family: String) -> Result<()> {
    let request = aws::ListTaskDefinitionsRequest { family_prefix: Some(family), sort: Some("DESC".into()), ..Default::default() };
    let arns = describe::task_definition_arns(session, request).await?;
    let mut rows = Rows::new(&["TASK DEFINITION", "ARN"], "no revisions that you may see");
    for arn in &arns {
        rows.push(short(arn), vec![short(arn).to_owned(), arn.clone()]);
    }
    session.out.list(&rows, &serde_json::json!({ "taskDefinitionArns": arns }));
    Ok(())
}

/// The document goes to stdout as it can be registered again; what the server adds to it goes to stderr.
async fn show(session: &Session, task_definition: String) -> Result<()> {
    let answer = session.call(&aws::DescribeTaskDefinitionRequest { task_definition, include: None }).await?;
    let shown = &answer.task_definition;
    if session.out.is_json() || session.out.is_quiet() {
        session.out.done(&shown.task_definition_arn, "", &serde_json::json!({ "taskDefinition": shown }));
        return Ok(());
    }
    output::remark(&format!("{} {}, registered by {}", shown.task_definition_arn, shown.status, shown.registered_by));
    output::print(&format!("{}\n", serde_json::to_string_pretty(&shown.document).unwrap_or_default()));
    Ok(())
}
