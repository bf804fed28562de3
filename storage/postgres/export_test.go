package postgres

import "context"

// Setting returns a setting of the server as a session of the pool has it.
func (b *Backend) Setting(ctx context.Context, name string) (value string, err error) {
	err = b.pool.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&value)
	return value, err
}
