//! `berth context`: the servers this person is logged in to.

use crate::context::{self, ContextFile};
use crate::failure::Result;
use crate::output::Rows;
use crate::session::Global;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// List contexts
    #[command(after_help = "Examples:\n  berth context ls\n  berth context ls --json")]
    Ls,
    /// Use a context from now on
    #[command(after_help = "Examples:\n  berth context use prod\n  berth services --context prod     (for one command)")]
    Use { name: String },
    /// Forget a context; its token stays valid (`berth logout` revokes it)
    #[command(after_help = "Examples:\n  berth context rm old")]
    Rm { name: String },
}

pub fn run(global: &Global, command: ContextCommand) -> Result<()> {
    let path = context::path()?;
    let mut file = ContextFile::load(&path)?;
    let out = global.output();
    match command {
        ContextCommand::Ls => list(global, &file),
        ContextCommand::Use { name } => {
            let server = file.named(&name)?.server.clone();
            file.current = Some(name.clone());
            file.save(&path)?;
            out.done(&name, &format!("using {name} ({server})"), &serde_json::json!({ "context": name, "server": server }));
        }
        ContextCommand::Rm { name } => {
            file.named(&name)?;
            file.contexts.remove(&name);
            if file.current.as_deref() == Some(name.as_str()) {
                file.current = None;
            }
            file.save(&path)?;
            out.done(&name, &format!("removed {name}"), &serde_json::json!({ "context": name }));
        }
    }
    Ok(())
}

fn list(global: &Global, file: &ContextFile) {
    let mut rows = Rows::new(&["", "NAME", "SERVER", "AS"], "no contexts; `berth login SERVER` makes one");
    let mut values = Vec::new();
    for (name, context) in &file.contexts {
        let current = file.current.as_deref() == Some(name.as_str());
        let principal = context.principal.clone().unwrap_or_default();
        rows.push(name, vec![if current { "*" } else { "" }.into(), name.clone(), context.server.clone(), principal.clone()]);
        values.push(serde_json::json!({ "name": name, "server": context.server, "principal": principal, "current": current }));
    }
    global.output().list(&rows, &serde_json::json!({ "contexts": values }));
}
