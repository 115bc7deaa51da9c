"""What describes the HTTP endpoints: an OpenAPI document made from the route table, and a page to try them."""
