//! What the rows of `tasks` hold of the instances: everything that is not observed STOPPED, whatever is desired of it.

use super::{json, parsed};
use model::ids::InstanceId;
use model::instance::Resources;
use model::task::DesiredStatus;
use platform::db::{DbError, Tx};
use sqlx::Row;
use sqlx::any::AnyRow;

const TABLE: &str = "tasks";

/// What is taken of an instance.
#[derive(Debug, Clone, Default)]
pub struct Held {
    pub resources: Resources,
    /// Group of each task there that is to run.
    pub running: Vec<String>,
}

/// On one instance.
pub async fn on_instance(tx: &mut Tx, instance: &InstanceId) -> Result<Held, DbError> {
    let rows = sqlx::query("select task_group, reserved, desired_status from tasks where instance_id = $1 and settled = 0")
        .bind(instance.to_string())
        .fetch_all(tx)
        .await?;
    let mut held = Held::default();
    for row in &rows {
        held.add(row)?;
    }
    Ok(held)
}

impl Held {
    fn add(&mut self, row: &AnyRow) -> Result<(), DbError> {
        let reserved: Resources = json(row, TABLE, "reserved")?;
        self.resources.cpu += reserved.cpu;
        self.resources.memory += reserved.memory;
        self.resources.ports.extend(reserved.ports);
        if parsed(row, TABLE, "desired_status", DesiredStatus::parse)? == DesiredStatus::Running {
            self.running.push(row.try_get("task_group")?);
        }
        Ok(())
    }
}
