"""The only user of torch and transformers: loading, observing, intervening, capturing."""
