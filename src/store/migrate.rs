//! The tables that the program needs, made or renewed in one transaction, by whichever replica comes first.
//! Never undoes: a store of a newer program is refused.

use std::time::Duration;

use super::StoreError;
use super::pool::Pool;
use super::row::values;

/// In order, and for good: what was released once is never changed, only added to.
const STEPS: [&str; 1] = [include_str!("migrations/0001_tables.sql")];

const LONGEST: Duration = Duration::from_secs(60);

pub async fn migrate(pool: &Pool) -> Result<(), StoreError> {
    let mut session = pool.session().await?;
    session.begin().await?;
    session.take_time(LONGEST).await?;
    session.lock().await?;
    session.execute("CREATE TABLE IF NOT EXISTS store_steps (step BIGINT PRIMARY KEY)", values![]).await?;
    let last = session.row("SELECT COALESCE(MAX(step), 0) FROM store_steps", values![]).await?;
    let last = last.map_or(Ok(0), |row| row.number(0))?;
    let last = usize::try_from(last).unwrap_or(usize::MAX);
    if last > STEPS.len() {
        return Err(StoreError::Fault(
            format!("its tables are of step {last}, and this program knows {}; start the newer program, or restore an older copy", STEPS.len())
                .into(),
        ));
    }
    for (step, sql) in (1_i64..).zip(STEPS).skip(last) {
        session.script(sql).await?;
        session.execute("INSERT INTO store_steps (step) VALUES ($1)", values![step]).await?;
    }
    session.commit().await
}
