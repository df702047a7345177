//! `berth robot`: machines.

use super::describe::all_pages;
use super::user::segment;
use crate::failure::Result;
use crate::output::{self, Rows};
use crate::session::Session;
use api::v1::access::{NewRobot, Robot};
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum RobotCommand {
    /// Make a robot
    #[command(
        after_help = "Examples:\n  berth robot create ci\n  berth access grant robot:ci push 'repository:acme/**'\n  berth token create --for robot:ci --label github"
    )]
    Create { name: String },
    /// List robots
    #[command(after_help = "Examples:\n  berth robot ls")]
    Ls,
    /// Remove a robot with its grants and credentials, from the next request on
    #[command(after_help = "Examples:\n  berth robot rm ci")]
    Rm { name: String },
}

pub async fn run(session: &Session, command: RobotCommand) -> Result<()> {
    match command {
        RobotCommand::Create { name } => {
            session.announce();
            let robot: Robot = session.v1.post("/api/v1/robots", &NewRobot { name }).await?;
            session.out.done(&robot.name, &format!("created robot:{}", robot.name), &robot);
            if !session.out.is_json() {
                output::remark(&format!("next: berth access grant robot:{0} …, berth token create --for robot:{0}", robot.name));
            }
            Ok(())
        }
        RobotCommand::Ls => list(session).await,
        RobotCommand::Rm { name } => {
            session.announce();
            session.v1.delete(&format!("/api/v1/robots/{}", segment(&name)?)).await?;
            session.out.done(&name, &format!("removed robot:{name}"), &serde_json::json!({ "removed": format!("robot:{name}") }));
            Ok(())
        }
    }
}

async fn list(session: &Session) -> Result<()> {
    let robots: Vec<Robot> = all_pages(session, "/api/v1/robots", &[]).await?;
    let mut rows = Rows::new(&["NAME", "STATUS", "CREATED", "BY"], "no robots");
    for robot in &robots {
        let status = if robot.disabled { "disabled" } else { "enabled" };
        rows.push(&robot.name, vec![robot.name.clone(), status.into(), robot.created_at.clone(), robot.created_by.clone()]);
    }
    session.out.list(&rows, &serde_json::json!({ "robots": robots }));
    Ok(())
}
