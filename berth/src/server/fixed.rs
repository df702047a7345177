//! What is set at first start and never changes: account, region, identity of the control plane.

use crate::failure::{Exit, Failure, Result};
use model::ids::Partition;
use platform::db::Db;
use platform::settings;

/// What every ARN and every container of this control plane carries.
#[derive(Debug, Clone)]
pub struct Fixed {
    pub partition: Partition,
    pub control_plane_id: String,
}

/// Reads the fixed settings, or sets them when this is the first start. Refuses other values than those that stand.
pub async fn load(db: &Db, account_id: Option<&str>, region: Option<&str>) -> Result<Fixed> {
    let wanted = Partition::new(account_id.unwrap_or("000000000000"), region.unwrap_or(super::config::REGION_DEFAULT));
    wanted.map_err(|error| Failure::usage(error.to_string()).next("correct --account-id or --region"))?;
    let account = stand(db, "account_id", account_id, random_account).await?;
    let region = stand(db, "region", region, || super::config::REGION_DEFAULT.to_owned()).await?;
    let control_plane_id = stand(db, "control_plane_id", None, || format!("{:032x}", platform::random::bits128())).await?;
    let partition =
        Partition::new(&account, &region).map_err(|error| Failure::error("the settings in the database are broken").why(error))?;
    Ok(Fixed { partition, control_plane_id })
}

async fn stand(db: &Db, name: &'static str, wanted: Option<&str>, otherwise: impl FnOnce() -> String) -> Result<String> {
    let value = wanted.map_or_else(otherwise, str::to_owned);
    let stands = settings::get_or_set(db, name, value)
        .await
        .map_err(|error| Failure::error("cannot read the settings in the database").why(error))?;
    match wanted {
        Some(wanted) if wanted != stands => {
            Err(Failure::new(Exit::Conflict, format!("{name} is {stands} since the first start, not {wanted}"))
                .why("every ARN carries it, so it never changes")
                .next(format!("start without it (or with {stands}), or use another data folder or database")))
        }
        _ => Ok(stands),
    }
}

/// Twelve random digits, the first not zero, as AWS accounts have them.
fn random_account() -> String {
    (100_000_000_000 + platform::random::bits64() % 900_000_000_000).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_start_decides_and_other_values_are_refused() {
        let dir = std::env::temp_dir().join(format!("berth-fixed-{}", platform::random::bits64()));
        std::fs::create_dir_all(&dir).unwrap();
        let db = Db::open(&platform::db::DatabaseUrl::Sqlite(dir.join("berth.db"))).await.unwrap();
        assert_eq!(load(&db, Some("12"), None).await.unwrap_err().exit(), Exit::Usage);
        let first = load(&db, None, Some("eu-home-1")).await.unwrap();
        assert_eq!(first.partition.account_id.len(), 12);
        let again = load(&db, None, None).await.unwrap();
        assert_eq!((&again.partition, &again.control_plane_id), (&first.partition, &first.control_plane_id));
        let refused = load(&db, Some("123456789012"), None).await.unwrap_err();
        assert_eq!(refused.exit(), Exit::Conflict);
        assert_eq!(load(&db, None, Some("us-1")).await.unwrap_err().exit(), Exit::Conflict);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
