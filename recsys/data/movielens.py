"""MovieLens-100k, from the recbole wheel. GroupLens terms: research only, no redistribution, no commercial use."""

# pyarrow.compute makes its functions at import, where no type checker sees them
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from recsys.data.packages import RECBOLE, locate
from recsys.data.spec import Task
from recsys.data.tables import QUARANTINE, Roles, Tables
from recsys.value import value


@value
class MovieLens:
    """100,000 ratings of 1,682 films by 943 people, 1997 and 1998; a rating of 4 or 5 is a like."""

    def sources(self) -> Mapping[str, str]:
        return RECBOLE.files

    def __call__(self) -> Tables:
        folder = locate(RECBOLE) / "recbole" / "dataset_example" / "ml-100k"
        tab = pacsv.ParseOptions(delimiter="\t")
        text = pacsv.ConvertOptions(column_types={"user_id:token": pa.string(), "item_id:token": pa.string()})
        inter, item, user = (
            pacsv.read_csv(folder / f"ml-100k.{kind}", parse_options=tab, convert_options=text)
            for kind in ("inter", "item", "user")
        )
        rating = inter["rating:float"].cast(pa.float64())
        events = pa.table(
            {
                "user": inter["user_id:token"],
                "item": inter["item_id:token"],
                "time": inter["timestamp:float"].cast(pa.int64()),
                "liked": pc.greater_equal(rating, 4).cast(pa.float64()),
            }
        )
        genres = pc.fill_null(item["class:token_seq"].cast(pa.string()), "unknown")
        titles = pc.fill_null(item["movie_title:token_seq"].cast(pa.string()), "")
        items = pa.table(
            {
                "item": item["item_id:token"],
                "genres": genres,
                "year": pc.fill_null(item["release_year:token"].cast(pa.string()), "unknown"),
                "text": pc.utf8_lower(pc.binary_join_element_wise(titles, genres, " / ")),
            }
        )
        users = pa.table(
            {
                "user": user["user_id:token"],
                "age": user["age:token"].cast(pa.float64()),
                "gender": user["gender:token"].cast(pa.string()),
                "occupation": user["occupation:token"].cast(pa.string()),
            }
        )
        roles = Roles(
            item_categorical=("genres", "year"),
            item_text="text",
            user_categorical=("gender", "occupation"),
            user_numeric=("age",),
            affinity=("genres",),
            labels={"liked": "liked"},
            tasks=(Task(name="engage"), Task(name="liked", on="taken")),
        )
        return Tables(
            "movielens", events, items, users, None, QUARANTINE.empty_table(), roles, None, 1.0, self.sources()
        )
